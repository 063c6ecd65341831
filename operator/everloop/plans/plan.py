"""What a plan says: the one language between pure decisions and the code that carries them out.

A plan function is `plan(observed, now) -> Plan`; it has no side effects and reads no clock. The
engine applies the plan in this order: children, patches, deletions, status (one write, only if it
differs), events (only after a status write succeeded or nothing had to be written), requeue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Literal

Manifest = dict[str, Any]


class Mode(Enum):
    """How the engine brings a child into the cluster."""

    APPLY = (
        "apply"  # created by POST, then server-side apply of what differs; comes back if deleted
    )
    CREATE_ONCE = "create-once"  # created by POST if absent; never changed after


class OnConflict(Enum):
    """What it means when the name is taken by an object we do not control."""

    NAME_CONFLICT = (
        "name-conflict"  # condition NameConflict on the parent; the object is not touched
    )
    REPLAN = "replan"  # the cache was behind: read the object, plan again (ModelVersion numbers)
    EXISTS = "exists"  # the name is the identity: somebody made it before us, all is well


@dataclass(frozen=True)
class Child:
    """A desired object. `manifest` holds only the fields we own; the engine adds the owner."""

    manifest: Manifest
    mode: Mode = Mode.APPLY
    owned: bool = True  # controller ownerReference to the parent (never for ModelVersions, history)
    on_conflict: OnConflict = OnConflict.NAME_CONFLICT
    after: bool = False  # made only if every child before it is as planned, but those apart
    apart: bool = False  # the plan does not tell of it: it may be refused, and the rest is true


@dataclass(frozen=True)
class Patch:
    """Fields applied to an existing object that we do not plan whole (an annotation on a pod).

    Carries `metadata.uid`, so that it never creates an object and never hits a successor. Skipped
    if the live object already has the fields.
    """

    manifest: Manifest


@dataclass(frozen=True)
class Deletion:
    """An object to delete, by uid; absent is fine."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    propagation: Literal["Background", "Foreground", "Orphan"] = "Background"

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Deletion:
        """The deletion of an object as read."""
        meta = item["metadata"]
        return cls(item["apiVersion"], item["kind"], meta["namespace"], meta["name"], meta["uid"])


@dataclass(frozen=True)
class Event:
    """A Kubernetes Event on the parent, sent once its status write has succeeded."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True)
class Plan:
    """What should be true now. `status` is the whole new status, or None for as it is.

    It may tell of children of this plan as made: it is written once they are.
    """

    children: tuple[Child, ...] = ()
    patches: tuple[Patch, ...] = ()
    deletions: tuple[Deletion, ...] = ()
    status: dict[str, Any] | None = None
    unmade: dict[str, Any] | None = None  # the status if a child cannot be made, without events;
    # of those apart it does not matter
    passing: bool = False  # a status of moments: unwritten if what was made wakes the parent again
    events: tuple[Event, ...] = ()
    requeue_at: datetime | None = None
    finalizers: tuple[str, ...] | None = (
        None  # wanted finalizers of ours on the parent; None: as is
    )
    counters: dict[str, int] = field(default_factory=dict)  # operator metrics to increase, by name
