"""The engine: what it is made of, and what intakes see of it (handlers.kind.EngineApi)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from everloop import contract, errors
from everloop.cluster import objects
from everloop.cluster.apply import marked_owner
from everloop.cluster.cache import Cache, Change
from everloop.cluster.client import Client
from everloop.cluster.events import Recorder
from everloop.cluster.warnings import Warnings
from everloop.handlers.engine_queue import Queue
from everloop.handlers.engine_reconcile import Reconciler
from everloop.handlers.engine_wake import Wakes
from everloop.handlers.engine_watches import Watched, Watches
from everloop.handlers.kind import Conflict, Key, Kind, Object
from everloop.handlers.owned import own
from everloop.handlers.resources import PROMETHEUS_RULES
from everloop.metrics import BUG, Metrics
from everloop.settings import Settings

logger = logging.getLogger(__name__)


class LiveKube:
    """handlers.kind.Kube: live reads, and creations that the cache knows of at once."""

    def __init__(self, client: Client, cache: Cache, ignored: frozenset[str]) -> None:
        """`ignored` are API groups that count as absent."""
        self._client = client
        self._warnings = Warnings(client)
        self._cache = cache
        self._ignored = ignored

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        """One object, or None."""
        return await self._client.get(api_version, kind, namespace, name)

    async def children(
        self, api_version: str, kind: str, owner: Object, labels: str
    ) -> Sequence[Object]:
        """Objects of a kind with these labels whose controller is `owner`, as they are now."""
        namespace = objects.metadata(owner)["namespace"]
        return [
            item
            async for page in self._client.pages(api_version, kind, namespace, labels)
            for item in page.get("items") or ()
            if own(owner, item) is not None
        ]

    async def warnings(self, namespace: str, uid: str) -> Sequence[Object]:
        """Kubernetes Events of type Warning about the object with this uid, oldest first."""
        return await self._warnings.of(namespace, uid)

    async def serves(self, api_version: str, kind: str) -> bool:
        """Whether the cluster has this kind (its CRD is installed), and we may use it."""
        if objects.group(api_version) in self._ignored:
            return False
        return await self._client.discovery.served(api_version, kind)

    async def create(self, manifest: Mapping[str, Any]) -> Object | Conflict:
        """POST; a taken name is an answer, everything else raises errors.ApiError."""
        try:
            made = await self._client.create(manifest)
        except errors.AlreadyExists as error:
            meta = manifest["metadata"]
            live = await self.get(
                manifest["apiVersion"], manifest["kind"], meta["namespace"], meta["name"]
            )
            if live is None:
                raise errors.Transient(f"{objects.describe(manifest)} came and went") from error
            return Conflict(live)
        self._cache.put(made)
        return made


class Engine:
    """All kinds' reconciling in one process. Implements handlers.kind.EngineApi."""

    def __init__(
        self,
        kinds: Sequence[Kind[Any]],
        settings: Settings,
        client: Client,
        metrics: Metrics,
        outside: Callable[[Engine], Any],
    ) -> None:
        """`outside(engine)` makes the third argument of every kind's `observe`."""
        self._settings = settings
        self._client = client
        self._leading = False
        self._workers: list[asyncio.Task[None]] = []
        self.metrics = metrics
        self.view = Cache(self._changed)
        ignored = ignored_groups(settings)
        self.kube = LiveKube(client, self.view, ignored)
        self.queue = Queue()
        self.wakes = Wakes(kinds, self.view)
        self.watches = Watches(
            watched(kinds, ignored),
            settings.watch_namespaces,
            client=client,
            cache=self.view,
            metrics=metrics,
            lost=self._lost,
        )
        self._kinds = {kind.resource.kind: kind for kind in kinds}
        self._recorder = Recorder(client, settings.pod_name, metrics.events_dropped.inc)
        self._reconciler = Reconciler(
            self._kinds,
            client=client,
            cache=self.view,
            queue=self.queue,
            recorder=self._recorder,
            metrics=metrics,
            seen=self.watches.seen,
            outside=outside(self),
        )
        metrics.queue_depth.set_function(lambda: len(self.queue))
        metrics.backing_off.set_function(lambda: self.queue.backing_off)
        metrics.running.set_function(lambda: self.queue.running)
        metrics.watches_dead.set_function(lambda: len(self.watches.dead()))
        for name in self._kinds:
            metrics.errors.labels(name, BUG)  # from 0 on, so that alerts see the first
        metrics.leader.set_function(lambda: float(self._leading))

    def wake(self, key: Key) -> None:
        """Reconcile this parent soon; many calls are one pass."""
        if self._leading and key.kind in self._kinds:
            self.queue.add(key)

    def is_leader(self) -> bool:
        """Whether this process may act."""
        return self._leading

    async def lead(self) -> None:
        """Begin to act, after the Lease and a list that shows all that its last holder did."""
        for key in self._parents():
            self.queue.add(key)
        self._leading = True
        await self.watches.reclaim()  # before anybody plans without what lost its label
        jobs = [self._reconciler.work() for _ in range(self._settings.workers)]
        self._workers = [asyncio.create_task(job) for job in (*jobs, self._recorder.run())]

    async def stop(self) -> None:
        """Act no more; what is under way is cut off, as a crash would."""
        self._leading = False
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def failed_workers(self) -> int:
        """Workers that ended, which none ever should."""
        return sum(worker.done() for worker in self._workers)

    # --- inside -----------------------------------------------------------------------------------
    def _changed(self, change: Change) -> None:
        woken = self.wakes.keys(change)  # which notes who refers to whom, on a standby, too
        if self._leading:  # nobody empties the queue of a standby; it begins with everything
            for key in woken:
                self.queue.add(key)

    def _parents(self) -> Iterator[Key]:
        for name, kind in self._kinds.items():
            qualified = objects.qualify(kind.resource.kind, kind.resource.group)
            for namespace in self.view.namespaces(qualified):
                for parent in self.view.names(qualified, namespace):
                    yield Key(name, namespace, parent)

    async def _lost(self, gone: Object) -> bool:
        """An object of ours is out of sight: is it deleted, or only without label or owner?"""
        meta = objects.metadata(gone)
        try:
            live = await self.kube.get(
                gone["apiVersion"], gone["kind"], meta["namespace"], meta["name"]
            )
            if live is None or objects.uid(live) != objects.uid(gone):
                return False
            if objects.metadata(live).get("deletionTimestamp"):
                return False
            parent = self._parent_of(live)
            if parent is None and (marked_owner(live) or not objects.made_by_us(live)):
                return False
            # What the cache has stays until the label or owner is back: a plan in between would
            # take the object for deleted.
            if self._leading:
                await self._reconciler.applier.restore(live, parent)
        except errors.ApiError as error:
            logger.warning("%s: %s", objects.describe(gone), error)
            return False
        return True

    def _parent_of(self, live: Object) -> Object | None:
        owner = marked_owner(live)
        namespace = objects.metadata(live)["namespace"]
        for kind in self._kinds.values():
            qualified = objects.qualify(kind.resource.kind, kind.resource.group)
            for parent in self.view.list(qualified, namespace):
                if objects.uid(parent) == owner:
                    return parent
        return None


def ignored_groups(settings: Settings) -> frozenset[str]:
    """API groups that the chart gives no rights to."""
    return frozenset() if settings.prometheus_operator else frozenset({PROMETHEUS_RULES.group})


def watched(kinds: Sequence[Kind[Any]], ignored: frozenset[str] = frozenset()) -> list[Watched]:
    """What to watch for these kinds: our own kinds whole, everything else by our label."""
    resources = {
        resource
        for kind in kinds
        for resource in (kind.resource, *kind.children, *kind.watched_for)
        if resource.group not in ignored
    }
    return [
        Watched(resource, labelled=not f".{resource.group}".endswith(f".{contract.GROUP}"))
        for resource in sorted(resources, key=str)
    ]
