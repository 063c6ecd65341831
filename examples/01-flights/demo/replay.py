"""Clients of the model: one request per flight, at its scheduled time, time running faster."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

import aiohttp

from demo.data import Flights, request

ONE_IN = 3  # flights that are replayed


@dataclass
class Tally:
    """How the requests went. `failures` keeps what the first few said."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=4000))

    def rate(self, seconds: float = 5.0) -> float:
        """Answers a second lately."""
        now = time.monotonic()
        return sum(1 for moment in self.recent if moment > now - seconds) / seconds


@dataclass
class Replay:
    """Sends flights to `url`; `day_seconds` is how long a simulated day takes at watch pace."""

    session: aiohttp.ClientSession
    url: str
    flights: Flights
    day_seconds: float
    tally: Tally = field(default_factory=Tally)
    day: date | None = None
    _midnight: float = 0.0  # of `day`, in time.monotonic()
    _pace: float = 1.0  # seconds of that day
    _pending: set[asyncio.Task[None]] = field(default_factory=set)

    def clock(self) -> str:
        """Simulated local time, `2013-07-01 14:00`; empty before the first day."""
        hour = int(24 * (time.monotonic() - self._midnight) / self._pace)
        return f"{self.day} {min(hour, 23):02}:00" if self.day else ""

    async def play(
        self,
        first: date,
        last: date,
        *,
        day_seconds: float | None = None,
        one_in: int = ONE_IN,
        stop: asyncio.Event | None = None,
        after_day: Callable[[date], Awaitable[object]] | None = None,
    ) -> date:
        """Replay whole days until the last, or until `stop` is set; the last day that was finished.

        `after_day` is awaited while the next day runs, and at the end.
        """
        pace = day_seconds or self.day_seconds
        began, day = time.monotonic(), first
        after: list[asyncio.Task[object]] = []
        while day <= last and not (stop and stop.is_set()):
            midnight = began + pace * (day - first).days
            await self._play_day(day, midnight, pace, one_in)
            if after_day:
                after.append(asyncio.ensure_future(after_day(day)))
            day += timedelta(days=1)
        await asyncio.gather(*after)
        return day - timedelta(days=1)

    async def drain(self) -> None:
        """Wait for the answers that are under way."""
        while self._pending:
            await asyncio.wait(self._pending)

    async def _play_day(self, day: date, midnight: float, pace: float, one_in: int) -> None:
        flights = self.flights.of_day(day, one_in)
        self.day, self._midnight, self._pace = day, midnight, pace
        for flight in flights:
            await self._until(midnight + pace * flight.second / 86400)
            task = asyncio.ensure_future(self._send(flight.id, flight.row))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)
        await self._until(midnight + pace)

    async def _until(self, moment: float) -> None:
        # always yields, so that a late replay still lets answers in
        await asyncio.sleep(max(0.0, moment - time.monotonic()))

    async def _send(self, id_: str, row: dict[str, object]) -> None:
        tally = self.tally
        tally.sent += 1
        try:
            async with self.session.post(self.url, json=request([row], id_)) as response:
                text = await response.text()
                error = "" if response.status == 200 else f"{response.status}: {text[:200]}"
        except (aiohttp.ClientError, TimeoutError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        if error:
            tally.failed += 1
            if len(tally.failures) < 10:
                tally.failures.append(f"{id_}: {error}")
        else:
            tally.answered += 1
            tally.recent.append(time.monotonic())
