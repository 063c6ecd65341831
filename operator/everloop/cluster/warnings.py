"""Warnings that Kubernetes gives of Jobs and pods (Events), read a namespace at a time.

The API server goes through all Events of a namespace to find those of one object, so where many
pods wait for their start they share one list. It is kept no longer than it is of use.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from everloop.cluster.client import Client

Json = dict[str, Any]
FRESH_SECONDS = 2.0  # a list that is no older serves everybody


class _Namespace:
    """The warnings of one namespace as last read."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.read = float("-inf")
        self.by_uid: Mapping[str, Sequence[Json]] = {}

    @property
    def fresh(self) -> bool:
        return time.monotonic() - self.read < FRESH_SECONDS


class Warnings:
    """All namespaces."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._namespaces: dict[str, _Namespace] = {}

    async def of(self, namespace: str, uid: str) -> Sequence[Json]:
        """Warnings about the object with this uid, oldest first. Raises errors.ApiError."""
        found = self._namespaces.setdefault(namespace, _Namespace())
        async with found.lock:
            if not found.fresh:
                started = time.monotonic()
                loop = asyncio.get_running_loop()
                try:
                    found.by_uid = await self._read(namespace)
                    found.read = started
                finally:
                    loop.call_later(FRESH_SECONDS, self._forget, namespace)
            return found.by_uid.get(uid, ())

    # --- inside -----------------------------------------------------------------------------------
    def _forget(self, namespace: str) -> None:
        found = self._namespaces.get(namespace)
        if found is not None and not found.fresh and not found.lock.locked():
            del self._namespaces[namespace]

    async def _read(self, namespace: str) -> Mapping[str, Sequence[Json]]:
        found: dict[str, list[Json]] = defaultdict(list)
        async for page in self._client.pages("v1", "Event", namespace, fields="type=Warning"):
            for event in page.get("items") or ():
                found[event["involvedObject"]["uid"]].append(event)
        return {uid: sorted(events, key=_time) for uid, events in found.items()}


def _time(event: Mapping[str, Any]) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((time for time in times if time), event["metadata"]["creationTimestamp"]))
