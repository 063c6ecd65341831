"""metav1 conditions: what people, kubectl wait and GitOps tools read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from everloop import contract
from everloop.api.base import Model, cut

UNSEEN: Final[Mapping[str, Any]] = {"observedGeneration": -1}  # status before the first pass


class Condition(Model):
    """One metav1.Condition."""

    type: str = Field(max_length=64)
    status: Literal["True", "False", "Unknown"]
    reason: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z][A-Za-z0-9]*$")
    message: Annotated[str, cut(4096), Field(max_length=4096)] = ""
    observed_generation: int = 0
    last_transition_time: str = ""


def timestamp(now: datetime) -> str:
    """A time as Kubernetes writes it: UTC, whole seconds."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(type: str, status: bool | None, reason: str, message: str = "") -> Condition:
    """A condition as a plan states it; `None` is Unknown. `merge` adds generation and time."""
    word: Literal["True", "False", "Unknown"] = (
        "Unknown" if status is None else "True" if status else "False"
    )
    return Condition(type=type, status=word, reason=reason, message=message)


def merge(
    current: Sequence[dict[str, Any]] | None,
    wanted: Iterable[Condition],
    generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """The whole new list of conditions: `wanted`, sorted by type, and nothing else.

    The transition time is kept unless the status flips, so that a pass that changes nothing writes
    nothing.
    """
    before = {entry["type"]: entry for entry in current or ()}
    merged = []
    for item in sorted(wanted, key=lambda item: item.type):
        old = before.get(item.type)
        kept = old is not None and old.get("status") == item.status
        since = old["lastTransitionTime"] if kept and old is not None else timestamp(now)
        merged.append(
            item.model_copy(
                update={"observed_generation": generation, "last_transition_time": since}
            ).to_dict()
        )
    return merged


def find(status: dict[str, Any] | None, type: str) -> dict[str, Any] | None:
    """The condition of this type in a status as read, or None."""
    for entry in (status or {}).get("conditions", []):
        if entry.get("type") == type:
            return dict(entry)
    return None


def is_true(status: dict[str, Any] | None, type: str) -> bool:
    """Whether a condition is there and True."""
    entry = find(status, type)
    return entry is not None and entry.get("status") == "True"


def stalled(status: dict[str, Any] | None) -> str:
    """What a status says is wrong and goes away by no waiting; empty if nothing is."""
    entry = find(status, contract.STALLED)
    if entry is None or entry.get("status") != "True":
        return ""
    return str(entry.get("message") or entry.get("reason"))
