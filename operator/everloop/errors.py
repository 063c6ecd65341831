"""Errors of the operator. What happens next (retry, condition, nothing) belongs to the class.

Answers of the API server are translated once, by `from_status`; nobody else looks at HTTP codes.
"""

# ruff: noqa: N818 (named for what happened, as the API server names it: NotFound, Conflict)
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar


class InvalidSpec(Exception):
    """A spec that the schema could not reject. Raised by plans; shown as Stalled=True.

    It is not tried again until the object or something it refers to changes. The message says what
    is wrong, where, and what to write instead.
    """


class Replan(Exception):
    """The cache was behind and has caught up: what was planned may be wrong."""


class ApiError(Exception):
    """The API server did not do what was asked."""

    label: ClassVar[str] = "other"  # in metrics
    condition: ClassVar[str | None] = None  # reason on the parent when a child meets it

    def __init__(self, message: str, status: int = 0, retry_after: float = 0.0) -> None:
        """`retry_after` are the seconds that the API server wants to be left alone."""
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Transient(ApiError):
    """No answer, a server error or too many requests: tried again with backoff."""

    label = "transient"


class NotFound(ApiError):
    """The object or the namespace is not there (any more)."""

    label = "not-found"


class Conflict(ApiError):
    """The object is not the one we read: read again, plan again."""

    label = "conflict"


class AlreadyExists(ApiError):
    """A POST met an object of that name."""

    label = "already-exists"


class Expired(ApiError):
    """A continue token or resource version that is too old: list again."""

    label = "expired"


class Forbidden(ApiError):
    """RBAC, a quota, a policy or an admission webhook said no: shown, and tried again slowly."""

    label = "forbidden"
    condition = "Forbidden"


class Terminating(ApiError):
    """The namespace is being deleted: nothing is created there, and nobody needs to hear of it."""

    label = "terminating"


class Invalid(ApiError):
    """The API server finds the object invalid: shown; only a changed spec can help."""

    label = "invalid"
    condition = "Invalid"


class NotServed(ApiError):
    """The cluster has no such kind (a CRD is not installed)."""

    label = "not-served"
    condition = "KindNotServed"


# How an API server answers an apply with a field that it does not know, with a 500.
UNKNOWN_FIELD = "failed to create typed patch object"
# What a webhook or an admission policy answers, with 400 or 422 where it names no code of its own.
DENIED = re.compile(
    r"admission webhook .* denied the request|ValidatingAdmissionPolicy .* denied request"
)


def from_status(status: int, body: Mapping[str, Any], retry_after: float = 0.0) -> ApiError:
    """The error for an HTTP status and a metav1.Status (or what could be read of it).

    `retry_after` is the answer's Retry-After, in seconds.
    """
    reason = str(body.get("reason") or "")
    message = str(body.get("message") or f"the API server answered {status}")
    details = body.get("details")
    causes = details.get("causes") if isinstance(details, Mapping) else None
    terminating = any(cause.get("reason") == "NamespaceTerminating" for cause in causes or ())
    kind: type[ApiError]
    match status:
        case 403 if terminating:
            kind = Terminating
        case 403:
            kind = Forbidden
        case 404:
            kind = NotFound
        case 409 if reason == "AlreadyExists":
            kind = AlreadyExists
        case 409:
            kind = Conflict
        case 410:
            kind = Expired
        case 400 | 422 if DENIED.search(message):
            kind = Forbidden
        case 400 | 413 | 422:
            kind = Invalid
        case 500 if message.startswith(UNKNOWN_FIELD):
            kind = Invalid
        case _:
            kind = Transient
    return kind(message, status, retry_after)
