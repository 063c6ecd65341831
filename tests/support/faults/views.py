"""Stale and partial views: what the operator is shown is late, old, or not told at all."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator

from faults.admin import Admin
from faults.proxy import Answer, Call, Cut, Disturbance

NOTE_SECONDS = 0.3  # how often the cluster's version is noted


class FrozenWatches(Disturbance):
    """From the `number`-th write on watches are silent; after some seconds they end.

    What happened meanwhile is told by nobody: the connection is gone, and so is the history.
    """

    def __init__(self, number: int, seconds: float) -> None:
        self._number = number
        self._seconds = seconds
        self._thaws = math.inf

    async def arrived(self, call: Call) -> Answer | None:
        if self._thaws == math.inf and (call.number or 0) >= self._number:
            self._thaws = time.monotonic() + self._seconds
        return None

    async def watched(self, call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in lines:
            if self._thaws < math.inf and call.time < self._thaws:
                await asyncio.sleep(self._thaws - time.monotonic())
                raise Cut
            yield line


class DelayedWatches(Disturbance):
    """Everything that watches tell comes some seconds late."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def watched(self, call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def read() -> None:
            async for line in lines:
                waiting.put_nowait((time.monotonic() + self._seconds, line))
            waiting.put_nowait((0.0, b""))

        reader = asyncio.create_task(read())
        try:
            while True:
                due, line = await waiting.get()
                if not line:
                    return
                await asyncio.sleep(max(due - time.monotonic(), 0))
                yield line
        finally:
            reader.cancel()


class LostDeletions(Disturbance):
    """Watches never tell of deletions; each ends some seconds after one, with 410 Gone."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.lost = 0

    async def watched(self, call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in lines:
            if b'"type":"DELETED"' not in line[:40]:
                yield line
                continue
            self.lost += 1
            await asyncio.sleep(self._seconds)
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            yield json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
            return


class LaggingLists(Disturbance):
    """Lists show the cluster as it was some seconds ago, and watches begin there.

    This is what an API server shows whose cache is behind.
    """

    def __init__(self, admin: Admin, seconds: float) -> None:
        self._admin = admin
        self._seconds = seconds
        self._versions: list[tuple[float, str]] = []  # when, and the cluster's version then
        self.lagged = 0

    async def arrived(self, call: Call) -> Answer | None:
        now = time.monotonic()
        if not self._versions or now - self._versions[-1][0] > NOTE_SECONDS:
            found = await self._admin.call("GET", "/api/v1/nodes?limit=1")
            self._versions.append((now, found["metadata"]["resourceVersion"]))
        # The first is older than it should be, until it is old enough: no list shows less than one
        # before it.
        shown = [version for when, version in self._versions if when <= now - self._seconds]
        if call.verb == "list" and call.resource and "continue" not in call.parameters:
            version = shown[-1] if shown else self._versions[0][1]
            exact = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
            call.parameters |= exact
            self.lagged += 1
        return None
