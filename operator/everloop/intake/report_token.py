"""Whose report is it? A pod's projected token, verified offline with the cluster's own keys.

TokenReview would be simpler, but a namespaced installation may not use it; and it would take a
token of any audience.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import jwt

from everloop import contract, errors

ALGORITHMS = ("RS256", "ES256", "ES384", "ES512", "RS384", "RS512")  # what Kubernetes signs with
REFRESH_SECONDS = 10.0  # an unknown key is looked for at most this often
RETRY_SECONDS = 1.0  # and so often while the API server does not answer
LEEWAY_SECONDS = 10


class UnauthorizedError(Exception):
    """The token proves nothing; the text says why."""


@dataclass(frozen=True)
class Caller:
    """The pod that a token is bound to."""

    namespace: str
    pod: str
    pod_uid: str


class Verifier:
    """Verifies tokens; fetches the cluster's keys when it meets one it does not know."""

    def __init__(self, get: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
        """`get` reads a path of the API server as JSON."""
        self._get = get
        self._issuer = ""
        self._keys: dict[str, jwt.PyJWK] = {}
        self._next = float("-inf")  # when keys may be asked for again
        self._answered = True
        self._lock = asyncio.Lock()

    async def verify(self, token: str) -> Caller:
        """The pod behind a token. Raises UnauthorizedError, errors.ApiError."""
        try:
            key = await self._key(str(jwt.get_unverified_header(token).get("kid") or ""))
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=contract.REPORT_AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "iss"]},
            )
        except (jwt.PyJWTError, UnicodeError) as error:
            raise UnauthorizedError(f"the token is not valid: {error}") from error
        bound = claims.get("kubernetes.io") or {}
        pod = bound.get("pod") or {}
        if not (bound.get("namespace") and pod.get("name") and pod.get("uid")):
            raise UnauthorizedError("the token is not bound to a pod: use a projected token")
        return Caller(str(bound["namespace"]), str(pod["name"]), str(pod["uid"]))

    async def _key(self, kid: str) -> jwt.PyJWK:
        if kid not in self._keys:
            async with self._lock:
                if kid not in self._keys and time.monotonic() >= self._next:
                    await self._refresh()
        if kid not in self._keys and not self._answered:
            raise errors.Transient("the cluster's keys cannot be read now")
        if kid not in self._keys:
            raise UnauthorizedError("the token is not signed by this cluster")
        return self._keys[kid]

    async def _refresh(self) -> None:
        self._next, self._answered = time.monotonic() + RETRY_SECONDS, False
        discovery = await self._get("/.well-known/openid-configuration")
        found = await self._get("/openid/v1/jwks")
        self._issuer = str(discovery["issuer"])
        self._keys = {key["kid"]: jwt.PyJWK.from_dict(key) for key in found["keys"]}
        self._next, self._answered = time.monotonic() + REFRESH_SECONDS, True
