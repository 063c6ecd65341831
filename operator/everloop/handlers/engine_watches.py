"""Fills the cache: kopf's watches for what happens, lists of our own for what they cannot say.

kopf's watches tell of what happens once they have begun (engine_kopf.EmptyLists), also when they
begin anew after "410 Gone", and a stream can fall silent; so everything is listed at the start,
when a watch has begun anew, when the API server has been away, and every few minutes. A list that
finds something the watch never delivers proves the watch dead.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import kopf

from everloop import contract, errors
from everloop.cluster import objects
from everloop.cluster.cache import Cache
from everloop.cluster.client import Client
from everloop.handlers.engine_patience import until_answered
from everloop.handlers.kind import Object, Resource
from everloop.metrics import Metrics

logger = logging.getLogger(__name__)
SELECTOR = f"{contract.MANAGED_BY}={contract.MANAGED_BY_VALUE}"
# Of ours, and out of sight: a hand took the label by which they are watched.
STRAYS = f"{contract.LABEL_COMPONENT},{contract.MANAGED_BY}!={contract.MANAGED_BY_VALUE}"
RELIST_SECONDS = 300.0  # at least, between two lists of a kind that nothing asks for
RELIST_SHARE = 0.001  # of the time that such lists may take; a big cluster is listed more rarely
OBJECT_SECONDS = 0.001  # what one object makes a list longer, before there was one with it
LISTS = 2  # under way at once, as each page is in memory whole
SETTLE_SECONDS = 0.5  # one list for many reasons
AGAIN_SECONDS = 2.0  # from one list of a kind to the next: while some requests fail, all is due
BEGIN_SECONDS = 10.0  # for all watches to begin, at the start
FRESH_SECONDS = 15.0  # for an API server that is behind to catch up, at the start
FRESH_AGAIN_SECONDS = 0.5  # between two looks whether it has
KEPT_BY_KOPF = ("namespace", "name", "uid", "deletionTimestamp", "finalizers")
DEAD_SECONDS = 60.0  # an object that a list found and the watch, though it had the time, not


@dataclass(frozen=True)
class Watched:
    """A resource in the cache; children only with our label."""

    resource: Resource
    labelled: bool

    @property
    def qualified(self) -> str:
        return objects.qualify(self.resource.kind, self.resource.group)


class Watches:
    """Everything that is watched."""

    def __init__(
        self,
        watched: Sequence[Watched],
        namespaces: Sequence[str],
        *,
        client: Client,
        cache: Cache,
        metrics: Metrics,
        lost: Callable[[Object], Awaitable[bool]],
    ) -> None:
        """`lost(object)` is asked when an object of ours left the watch or lost its owner: True if
        it is still there, and was put right.
        """
        self._watched = {item.qualified: item for item in watched}
        self._namespaces = namespaces
        self._client = client
        self._cache = cache
        self._metrics = metrics
        self._lost = lost
        self._due: dict[str, asyncio.Event] = {name: asyncio.Event() for name in self._watched}
        self._missed: dict[str, tuple[int, float]] = {}  # kind → version, since when
        # kind → path of a watch → the version that it began at
        self._begun: dict[str, dict[str, int]] = {name: {} for name in self._watched}
        self._slots = asyncio.Semaphore(LISTS)
        self._fresh = 0  # what version a list has to show
        cache.serve(self._watched)

    def register(self, registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings) -> None:
        """Tell kopf what to watch."""
        for item in self._watched.values():
            resource = item.resource
            selector = (resource.group, resource.version, resource.plural)
            self._metrics.ages.seen(item.qualified)
            kopf.on.event(*selector, registry=registry, id=item.qualified)(self._handler(item))
            if item.labelled:
                settings.watching.label_selectors[selector] = SELECTOR
            if resource.fields:
                settings.watching.field_selectors[selector] = resource.fields

    async def served(self) -> dict[str, bool]:
        """Which of the kinds the cluster has now."""
        discovery = self._client.discovery
        return {
            name: await discovery.served(item.resource.api_version, item.resource.kind)
            for name, item in self._watched.items()
        }

    async def relist(self, since: int = 0) -> None:
        """List everything now, each kind until the API server has answered.

        What the operator before this one did, it did before we took the Lease: no list that is
        older than that version, `since`, is acted upon. But not for ever: where Leases are kept in
        a store of their own, versions do not compare.
        """
        self._fresh = since
        await asyncio.gather(
            *(until_answered(partial(self._list, item)) for item in self._watched.values())
        )

    async def reclaim(self) -> None:
        """Give what lost our label its label back, of each kind until it is answered."""
        labelled = (item for item in self._watched.values() if item.labelled)
        await asyncio.gather(*(until_answered(partial(self._reclaim, item)) for item in labelled))

    async def keep(self) -> None:
        """List each kind when there is reason to, and every few minutes, for ever."""
        async with asyncio.TaskGroup() as group:
            for item in self._watched.values():
                group.create_task(self._keep(item))

    async def seen(self, live: Object) -> None:
        """An object as read, by whatever read it first: a watch, or a pass that ran into it."""
        await self._take(live)

    def begun(self, path: str, version: int) -> None:
        """A watch has begun, perhaps anew: what went before this version, only a list can tell."""
        for name, item in self._watched.items():
            resource = item.resource
            if path.endswith(f"/{resource.plural}") and f"/{resource.api_version}/" in path:
                self._begun[name][path] = version
                self._metrics.ages.seen(name)
                self._due[name].set()
                if name in self._missed and self._missed[name][0] <= version:
                    del self._missed[name]

    async def begin(self) -> None:
        """Until every kind that the cluster has is watched: a list before would be in vain.

        A watch that is refused must not hold up the others: after some seconds it goes on.
        """
        served = [name for name, here in (await self.served()).items() if here]
        wanted = max(1, len(self._namespaces))
        patience = time.monotonic() + BEGIN_SECONDS
        while missing := [name for name in served if len(self._begun[name]) < wanted]:
            if time.monotonic() > patience:
                logger.warning("starting: no watch yet of %s", ", ".join(missing))
                return
            await asyncio.sleep(0.05)

    def expect_gaps(self) -> None:
        """The API server was away: watches may have missed something."""
        for due in self._due.values():
            due.set()

    def dead(self) -> list[str]:
        """The watches that are proven dead."""
        now = time.monotonic()
        return [kind for kind, (_, since) in self._missed.items() if now - since > DEAD_SECONDS]

    # --- inside -----------------------------------------------------------------------------------
    def _handler(self, item: Watched) -> Callable[..., Awaitable[None]]:
        name = item.qualified

        async def on_event(event: dict[str, Any], **_: Any) -> None:
            self._metrics.watch_events.labels(name).inc()
            self._metrics.ages.seen(name)
            live = _taken_out(event["object"])
            missed = self._missed.get(name)
            if missed is not None and objects.version(live) >= missed[0]:
                del self._missed[name]
            if event["type"] == "DELETED":
                if not (_kept(live) and await self._lost(live)):
                    self._cache.remove(live)
                return
            await self.seen(live)

        return on_event

    async def _take(self, live: Object) -> bool:
        """Put what was seen into the cache; whether it was news.

        If a hand took what we know it by, that is put right first, and what is known stays until
        then.
        """
        if self._cache.knows(live):
            return False
        meta = objects.metadata(live)
        known = self._cache.get(
            objects.qualified(live), str(meta.get("namespace") or ""), meta["name"]
        )
        if _taken(known, live) and await self._lost(live):
            return False
        return self._cache.put(live) is not None

    async def _keep(self, item: Watched) -> None:
        due = self._due[item.qualified]
        took, ended, started = 0.0, time.monotonic(), -math.inf
        while True:
            rest = self._rest(item, took) - (time.monotonic() - ended)
            try:
                async with asyncio.timeout(rest):
                    await due.wait()
                await asyncio.sleep(max(SETTLE_SECONDS, started + AGAIN_SECONDS - time.monotonic()))
                if not due.is_set():
                    continue  # somebody else has listed meanwhile
            except TimeoutError:
                if self._rest(item, took) > time.monotonic() - ended:
                    continue  # there are more objects than when the wait began
                logger.debug("%s: listing, as from time to time", item.qualified)
            started = time.monotonic()
            try:
                await self._list(item)
                if item.labelled:
                    await self._reclaim(item)
            except errors.ApiError as error:
                logger.warning("%s: cannot be listed: %s", item.qualified, error)
                due.set()
                await asyncio.sleep(max(1.0, error.retry_after))
            ended = time.monotonic()
            took = ended - started

    def _rest(self, item: Watched, took: float) -> float:
        """Seconds between two lists that nothing asks for, when the last one took so many."""
        expected = max(took, self._cache.size(item.qualified) * OBJECT_SECONDS)
        return max(RELIST_SECONDS, expected / RELIST_SHARE)

    async def _list(self, item: Watched) -> None:
        resource = item.resource
        self._due[item.qualified].clear()  # what asked until now is answered by what begins now
        try:
            for namespace in self._namespaces or (None,):
                async with self._slots:
                    await self._list_in(item, namespace)
        except (errors.NotServed, errors.NotFound):
            logger.debug("%s is not served", resource.plural)
        self._metrics.cached.labels(item.qualified).set(self._cache.size(item.qualified))

    async def _reclaim(self, item: Watched) -> None:
        resource = item.resource
        try:
            for namespace in self._namespaces or (None,):
                pages = self._client.pages(resource.api_version, resource.kind, namespace, STRAYS)
                async for page in pages:
                    for live in page.get("items") or ():
                        live.setdefault("apiVersion", resource.api_version)
                        live.setdefault("kind", resource.kind)
                        if _kept(live):
                            await self._lost(live)
        except (errors.NotServed, errors.NotFound):
            return

    async def _list_in(self, item: Watched, namespace: str | None) -> None:
        resource = item.resource
        uids: set[str] = set()
        version = 0
        async for page in self._pages(item, namespace):
            version = objects.version(page)
            if version < self._since(item.qualified):
                # What happened in between would be told by nobody.
                raise errors.Transient(f"{resource.plural}: a list is older than their watch")
            for live in page.get("items") or ():
                live.setdefault("apiVersion", resource.api_version)
                live.setdefault("kind", resource.kind)
                uids.add(objects.uid(live))
                if await self._take(live):
                    self._learnt(item.qualified, objects.version(live))
        namespaces = [namespace] if namespace else []
        for gone in self._cache.stale(item.qualified, namespaces, uids, version):
            self._cache.remove(gone)

    async def _pages(self, item: Watched, namespace: str | None) -> AsyncIterator[Object]:
        """Those of a list that is new enough."""
        resource, labels = item.resource, SELECTOR if item.labelled else ""
        patience = math.inf
        while True:
            pages = self._client.pages(
                resource.api_version, resource.kind, namespace, labels, resource.fields
            )
            async for page in pages:
                if objects.version(page) < self._fresh:
                    break
                yield page
            else:
                return
            patience = min(patience, time.monotonic() + FRESH_SECONDS)
            if time.monotonic() > patience:
                logger.warning(
                    "starting: lists of %s are older than our Lease, and taken nevertheless",
                    resource.plural,
                )
                self._fresh = 0
            else:
                await asyncio.sleep(FRESH_AGAIN_SECONDS)

    def _since(self, name: str) -> int:
        """The version that the newest watch of a kind began at; 0 if none has."""
        return max(self._begun[name].values(), default=0)

    def _learnt(self, name: str, version: int) -> None:
        """A list knew something first: unless it is of before the watch, that owes us an event."""
        if version > self._since(name):
            self._metrics.missed.labels(name).inc()
            self._missed.setdefault(name, (version, time.monotonic()))


def _taken_out(seen: dict[str, Any]) -> Object:
    """An event's object, of which kopf keeps what it looks at after its handlers.

    kopf's views of an object refer to each other, so all that they show would be there until Python
    looks for cycles: a hundred containers each, some 200 events a second under load.
    """
    live = dict(seen)
    seen.clear()
    seen["metadata"] = {
        key: value for key, value in live["metadata"].items() if key in KEPT_BY_KOPF
    }
    return live


def _kept(live: Object) -> bool:
    """Made by us, by its mark or for want of an owner, and not being deleted.

    Did it only lose its label? Pods bear our label too, and are their controllers'.
    """
    meta = objects.metadata(live)
    ours = contract.ANNOTATION_APPLIED in (meta.get("annotations") or {})
    return (ours or objects.controller(live) is None) and not meta.get("deletionTimestamp")


def _taken(before: Object | None, after: Object) -> bool:
    """Whether a hand removed our owner reference, or our label where all objects are watched."""
    if before is None or objects.uid(before) != objects.uid(after):
        return False
    disowned = objects.controller(before) is not None and objects.controller(after) is None
    return disowned or (objects.managed(before) and not objects.managed(after))
