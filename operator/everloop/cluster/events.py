"""Kubernetes Events about parents: aggregated, bounded, in the background, soon given up."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from everloop import contract, errors
from everloop.api.conditions import timestamp
from everloop.cluster import objects
from everloop.cluster.client import MERGE, Client
from everloop.plans.plan import Event

logger = logging.getLogger(__name__)
WAITING = 1000  # events that may wait; more are dropped and counted
REMEMBERED = 2000  # events whose repetition is counted on the first one
REPEAT_SECONDS = 60.0  # how often a repetition is written at most
FORGET_SECONDS = 3000.0  # the API server keeps events for an hour


@dataclass(slots=True)
class _Seen:
    """One Event object that we wrote, by name, and its repetitions since."""

    name: str
    first: float
    written: float
    count: int = 1


class Recorder:
    """Takes events at any time; `run` writes them."""

    def __init__(
        self,
        client: Client,
        instance: str,
        dropped: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._clock = clock
        self._instance = instance
        self._dropped = dropped
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING)
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()

    def record(self, parent: objects.Object, event: Event) -> None:
        """Write this event soon, or count it on the same one before."""
        text = "\0".join((objects.uid(parent), event.reason, event.message))
        key = hashlib.sha256(text.encode()).digest()  # there are many, and messages are long
        now = self._clock()
        seen = self._seen.get(key)
        if seen is not None and now - seen.first < FORGET_SECONDS:
            seen.count += 1
            if now - seen.written < REPEAT_SECONDS:
                return
            seen.written = now
            self._put(self._manifest(parent, event, seen.name) | {"count": seen.count})
            return
        name = f"{objects.metadata(parent)['name']}.{secrets.token_hex(8)}"
        manifest = self._manifest(parent, event, name)
        self._seen[key] = _Seen(name, now, now)
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self._put(manifest)

    async def flushed(self) -> None:
        """Until everything recorded so far is written, or given up."""
        await self._queue.join()

    async def run(self) -> None:
        """Write events for ever."""
        while True:
            manifest = await self._queue.get()
            try:
                if manifest["count"] == 1:
                    await self._client.create(manifest)
                else:
                    repeated = {key: manifest[key] for key in ("count", "lastTimestamp")}
                    await self._client.patch(manifest, MERGE, repeated)
            except errors.ApiError as error:
                self._dropped()
                logger.debug("an event was given up: %s", error)
            finally:
                self._queue.task_done()

    def _put(self, manifest: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(manifest)
        except asyncio.QueueFull:
            self._dropped()

    def _manifest(self, parent: objects.Object, event: Event, name: str) -> dict[str, Any]:
        meta = objects.metadata(parent)
        now = timestamp(datetime.now(UTC))
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": meta["namespace"]},
            "involvedObject": {
                "apiVersion": parent["apiVersion"],
                "kind": parent["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:1024],
            "source": {"component": contract.FIELD_MANAGER},
            "reportingComponent": contract.FIELD_MANAGER,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
