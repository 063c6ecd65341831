"""Stale and partial views: what the operator is shown is late, old, or not told at all."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable

from faults.admin import Admin
from faults.disturbances import Kill
from faults.proxy import Answer, Call, Cut, Disturbance, tells_of_deletion

NOTE_SECONDS = 0.3  # how often the cluster's version is noted
BEHIND_SECONDS = 8.0  # at least, for which an operator that was started again is shown what was


class FrozenWatches(Disturbance):
    """From the `number`-th write on watches are silent; some seconds after there was something to
    tell they end.

    What happened meanwhile is told by nobody: the connection is gone, and so is the history.
    With a `resource` only its watch is silent: it is behind all others, which go on.
    """

    def __init__(self, number: int, seconds: float, resource: str = "") -> None:
        """`resource` is its plural.group; without one it is all."""
        self._number = number
        self._seconds = seconds
        self._resource = resource
        self._frozen = False
        self._thaws = math.inf
        self.held = 0  # lines that nobody was told while it lasted

    def happened(self) -> bool:
        return self.held > 0

    async def arrived(self, call: Call) -> Answer | None:
        self._frozen = self._frozen or (call.number or 0) >= self._number
        return None

    async def watched(self, call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        concerned = self._resource in ("", call.resource)
        async for line in lines:
            if concerned and self._frozen and call.time < self._thaws:
                now = time.monotonic()
                self._thaws = min(self._thaws, now + self._seconds)
                self.held += now < self._thaws
                await asyncio.sleep(self._thaws - now)
                raise Cut
            yield line


class DelayedWatches(Disturbance):
    """Everything that watches tell comes some seconds late; or what that of one `resource` does."""

    def __init__(self, seconds: float, resource: str = "") -> None:
        """`resource` is its plural.group; without one it is all."""
        self._seconds = seconds
        self._resource = resource
        self.held = 0  # lines, also those whose operator ended before it was told

    def happened(self) -> bool:
        return self.held > 0

    async def watched(self, call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        concerned = self._resource in ("", call.resource)

        def hold() -> float:
            self.held += concerned
            return self._seconds * concerned

        async for line in late(lines, hold):
            yield line


async def late(lines: AsyncIterator[bytes], seconds: Callable[[], float]) -> AsyncIterator[bytes]:
    """Lines in their order, each told so many seconds after it came; asked when it comes."""
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        try:
            async for line in lines:
                waiting.put_nowait((time.monotonic() + seconds(), line))
        finally:  # else whoever waits would do so for ever
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

    def happened(self) -> bool:
        return self.lost > 0

    async def watched(self, call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in lines:
            if not tells_of_deletion(line):
                yield line
                continue
            self.lost += 1
            await asyncio.sleep(self._seconds)
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            yield json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
            return


class LaggingView(Disturbance):
    """Lists show the cluster as it was some seconds ago, and watches begin there.

    Those of an operator that was killed and started again also tell late, for a while, what has
    happened since. This is what an API server shows whose cache is behind.
    """

    def __init__(self, admin: Admin, seconds: float, kill: Kill) -> None:
        self._admin = admin
        self._seconds = seconds
        self._kill = kill
        self._versions: list[tuple[float, str]] = []  # when, and the cluster's version then
        self._behind = max(BEHIND_SECONDS, seconds)
        self._again = math.inf  # when the operator that was killed first listed anything
        self._told = math.inf  # when one of its watches first had anything to tell
        self.lagged = 0  # lists since the operator was started again
        self.held = 0  # lines of watches that it was told late

    def happened(self) -> bool:
        return self.lagged > 0 and self.held > 0

    async def arrived(self, call: Call) -> Answer | None:
        now = time.monotonic()
        if not self._versions or now - self._versions[-1][0] > NOTE_SECONDS:
            found = await self._admin.call("GET", "/api/v1/nodes?limit=1")
            self._versions.append((now, found["metadata"]["resourceVersion"]))
        if call.verb == "list" and call.resource and "continue" not in call.parameters:
            exact = {"resourceVersion": self._shown(now), "resourceVersionMatch": "Exact"}
            call.parameters |= exact
            self.lagged += self._kill.happened()
        return None

    def _shown(self, now: float) -> str:
        """The first version is older than it should be, until it is old enough: no list shows less
        than one before it.
        """
        then = now - self._seconds - self._stood_still(now)
        shown = [version for when, version in self._versions if when <= then]
        return shown[-1] if shown else self._versions[0][1]

    def _stood_still(self, now: float) -> float:
        """Seconds by which it is further behind, since nothing happens while no operator runs."""
        if not self._kill.happened():
            return 0.0
        self._again = min(self._again, now)
        return self._again - self._kill.killed_at if now < self._again + self._behind else 0.0

    async def watched(self, call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in late(lines, lambda: self._lag(call)):
            yield line

    def _lag(self, call: Call) -> float:
        """Of a line that comes now to a watch of the operator that was started again."""
        now = time.monotonic()
        if call.time < self._kill.killed_at:
            return 0.0
        self._told = min(self._told, now)
        behind = now < self._told + self._behind
        self.held += behind
        return self._seconds if behind else 0.0
