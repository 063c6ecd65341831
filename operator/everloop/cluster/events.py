"""Kubernetes Events about parents: aggregated, bounded, in the background, soon given up."""

from __future__ import annotations

import asyncio
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


@dataclass
class _Seen:
    """One Event object that we wrote, and its repetitions since."""

    manifest: dict[str, Any]
    first: float
    written: float
    count: int = 1


class Recorder:
    """Takes events at any time; `run` writes them."""

    def __init__(self, client: Client, instance: str, dropped: Callable[[], None]) -> None:
        self._client = client
        self._instance = instance
        self._dropped = dropped
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING)
        self._seen: OrderedDict[tuple[str, str, str], _Seen] = OrderedDict()

    def record(self, parent: objects.Object, event: Event) -> None:
        """Write this event soon, or count it on the same one before."""
        key = (objects.uid(parent), event.reason, event.message)
        now = time.monotonic()
        seen = self._seen.get(key)
        if seen is not None and now - seen.first < FORGET_SECONDS:
            seen.count += 1
            if now - seen.written < REPEAT_SECONDS:
                return
            seen.written = now
            again = {"count": seen.count, "lastTimestamp": timestamp(datetime.now(UTC))}
            self._put(seen.manifest | again)
            return
        manifest = self._manifest(parent, event)
        self._seen[key] = _Seen(manifest, now, now)
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self._put(manifest)

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

    def _put(self, manifest: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(manifest)
        except asyncio.QueueFull:
            self._dropped()

    def _manifest(self, parent: objects.Object, event: Event) -> dict[str, Any]:
        meta = objects.metadata(parent)
        now = timestamp(datetime.now(UTC))
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name']}.{secrets.token_hex(8)}",
                "namespace": meta["namespace"],
            },
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
