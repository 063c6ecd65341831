"""What a kind tells the engine: what to watch, what to observe, how to plan.

A kind is data and two functions. It never writes: `observe` collects a typed snapshot from the
cache (and outside facts where it needs them), `plan` decides, the engine applies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from everloop.plans.plan import Plan

Object = Mapping[str, Any]  # a Kubernetes object as read, trimmed to the fields we read
Observed = TypeVar("Observed")


@dataclass(frozen=True)
class Resource:
    """A resource we read or write, as the API server names it."""

    group: str
    version: str
    plural: str
    kind: str
    fields: str = ""  # a field selector: the others are not watched

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class Key:
    """One parent object: the unit of the queue."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Ref:
    """Something a parent depends on: an object by name, or all objects of a kind with a model name.

    The engine keeps the reverse index and wakes the parent when such an object appears, changes or
    goes, also when it did not exist at the time of planning.
    """

    kind: str
    namespace: str
    name: str | None = None
    model: str | None = None  # spec.modelName, or the label everloop.dev/model


class View(Protocol):
    """The cache as kinds see it. Returned objects are shared: never change them.

    A kind is named as kubectl names it: `Deployment` is ours, `Deployment.apps` is that of apps/v1.
    A bare name means ours if there is one, else the only watched kind of that name. `children`
    needs no group: the owner's uid decides (`children("Deployment", ours)` are apps/v1 objects).
    """

    def get(self, kind: str, namespace: str, name: str) -> Object | None: ...

    def list(
        self,
        kind: str,
        namespace: str,
        labels: Mapping[str, str] | None = None,
        *,
        model: str | None = None,
    ) -> Sequence[Object]:
        """Those with all these labels and, of our kinds, with this spec.modelName.

        Costs as much as it finds, if a label of cluster.index is among them or a model is named,
        else as much as the namespace has.
        """
        ...

    def names(self, kind: str, namespace: str) -> Sequence[str]:
        """Names of all objects of a kind, and of those that are being created."""
        ...

    def values(self, kind: str, namespace: str, what: str) -> Sequence[str]:
        """Values of an annotation or a field (of those in cluster.index) of a kind's objects."""
        ...

    def children(self, kind: str, owner: Object) -> Sequence[Object]:
        """Objects of a kind whose controller is `owner` (by uid); ModelVersions of that run."""
        ...


class Reader(Protocol):
    """Live reads of the API server, for what is not worth a watch."""

    async def get(
        self, api_version: str, kind: str, namespace: str, name: str
    ) -> Object | None: ...

    async def children(
        self, api_version: str, kind: str, owner: Object, labels: str
    ) -> Sequence[Object]:
        """Objects of a kind with these labels whose controller is `owner`, as they are now."""
        ...

    async def warnings(self, namespace: str, uid: str) -> Sequence[Object]:
        """Kubernetes Events of type Warning about the object with this uid, oldest first.

        They may be two seconds old.
        """
        ...

    async def serves(self, api_version: str, kind: str) -> bool:
        """Whether the cluster has this kind (its CRD is installed)."""
        ...


@dataclass(frozen=True)
class Conflict:
    """A name that was taken when we wanted to create it, with the object that has it."""

    live: Object


class Kube(Reader, Protocol):
    """What intakes may do with the API server: read, and create once."""

    async def create(self, manifest: Mapping[str, Any]) -> Object | Conflict:
        """POST. Raises everloop.errors.ApiError for everything but a taken name."""
        ...


class Counters(Protocol):
    """The operator's own metrics, as everything but the engine sees them."""

    def increase(self, name: str, amount: int = 1) -> None:
        """Count something that happened: `everloop_operator_outcomes_total{name="…"}`."""
        ...

    def api_request(self, verb: str, resource: str, status: int) -> None:
        """Count a request to the API server; status 0 is no answer."""
        ...


class EngineApi(Protocol):
    """The engine as intakes see it (`async def serve(api: EngineApi, settings: Settings)`)."""

    @property
    def view(self) -> View: ...

    @property
    def kube(self) -> Kube: ...

    @property
    def metrics(self) -> Counters: ...

    def wake(self, key: Key) -> None:
        """Reconcile this parent soon; many calls are one pass."""
        ...

    def is_leader(self) -> bool:
        """Whether this process may act; intakes answer 503 when it may not."""
        ...


@dataclass(frozen=True)
class Kind(Generic[Observed]):
    """A reconciled kind; `outside` in `observe` is a handlers.outside.Outside."""

    resource: Resource
    children: tuple[Resource, ...]  # watched with the label managed-by=everloop
    references: Callable[[Object], Iterable[Ref]]
    observe: Callable[[Object, View, Any], Awaitable[Observed]]
    plan: Callable[[Observed, datetime], Plan]
    watched_for: tuple[Resource, ...] = field(default=())  # read, made by others of ours
    reads_own_status: bool = True  # whether what it wrote there can make its next plan another
