"""Keys that wait to be reconciled: each once, one pass at a time, namespaces taking turns."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from everloop.handlers.kind import Key

FIRST_BACKOFF_SECONDS = 1.0
LAST_BACKOFF_SECONDS = 60.0
# Passes of one namespace at once, while others have work, too. Each waits for the API server, where
# all that a flood may ask at once stands before everybody else's next request.
SHARE = 4
COMPANY_SECONDS = 60.0  # for which a namespace has company after a pass of another one


class Queue:
    """A key that is added while it waits is one entry; while it is reconciled, one pass more.

    No namespace has more than SHARE passes under way, unless it is the only one that has any for a
    while. Delays are at most one per key, the earliest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: OrderedDict[str, deque[Key]] = OrderedDict()  # by namespace, in turn
        self._queued: set[Key] = set()
        self._running: set[Key] = set()
        self._busy: Counter[str] = Counter()  # passes under way, by namespace
        self._taken: OrderedDict[str, float] = OrderedDict()  # last pass of the last two namespaces
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._not_before: dict[Key, float] = {}  # the loop's time
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def running(self) -> int:
        """Passes under way."""
        return len(self._running)

    def add(self, key: Key) -> None:
        """Reconcile soon; but not while the API server wants to be left alone with it."""
        if key in self._running:
            self._again.add(key)
        elif key in self._not_before and (left := self._left(key)) > 0:
            self.add_after(key, left)
        elif key not in self._queued:
            self._queued.add(key)
            self._waiting.setdefault(key.namespace, deque()).append(key)
            self._ready.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Reconcile in some seconds, unless that is planned for earlier."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(max(seconds, 0.0), self._ring, key)

    def cancel_timer(self, key: Key) -> None:
        """Forget what was planned for later: a new pass plans anew."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def woken(self, key: Key) -> bool:
        """Whether another pass follows the one that is under way."""
        return key in self._again

    def unwake(self, key: Key) -> None:
        """No other pass follows the one that is under way: there would be nothing to do."""
        self._again.discard(key)

    async def get(self) -> Key:
        """The next key; `done` must follow."""
        while (namespace := self._turn()) is None:
            self._ready.clear()
            await self._ready.wait()
        keys = self._waiting.pop(namespace)
        key = keys.popleft()
        if keys:
            self._waiting[namespace] = keys  # to the end: the next namespace is next
        self._queued.discard(key)
        self._running.add(key)
        self._busy[namespace] += 1
        self._taken[namespace] = self._clock()
        self._taken.move_to_end(namespace)
        if len(self._taken) > 2:
            self._taken.popitem(last=False)
        return key

    def done(self, key: Key, delay: float = 0.0) -> None:
        """The pass is over; if the key was added meanwhile, it goes to the end of its line.

        `delay` (in seconds) slows down a key that wakes itself again and again.
        """
        self._running.discard(key)
        self._busy[key.namespace] -= 1
        if not self._busy[key.namespace]:
            del self._busy[key.namespace]
        self._ready.set()
        if key in self._again:
            self._again.discard(key)
            if delay > 0:
                self.add_after(key, delay)
            else:
                self.add(key)

    @property
    def backing_off(self) -> int:
        """Keys whose last pass failed, and which are tried again later."""
        return len(self._failures)

    def failed(self, key: Key, at_least: float = 0.0) -> float:
        """Plan another pass: after 1 s, doubling to 60 s, each up to a fifth sooner.

        `at_least` are seconds that the API server asked for. Returns the seconds.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        doubled = FIRST_BACKOFF_SECONDS * float(2 ** min(failures, 10))
        seconds = max(at_least, min(doubled, LAST_BACKOFF_SECONDS) * random.uniform(0.8, 1.0))
        self._not_before[key] = asyncio.get_running_loop().time() + at_least
        self.add_after(key, seconds)
        return seconds

    def succeeded(self, key: Key) -> None:
        """The next failure begins at 1 s again."""
        self._failures.pop(key, None)
        self._not_before.pop(key, None)

    def _turn(self) -> str | None:
        """The namespace that is next; those that have their share are few, and passed over."""
        recent = self._clock() - COMPANY_SECONDS
        active = {name for name, taken in self._taken.items() if taken > recent}
        return next(
            (name for name in self._waiting if self._busy[name] < SHARE or not active - {name}),
            None,
        )

    def _left(self, key: Key) -> float:
        return self._not_before[key] - asyncio.get_running_loop().time()

    def _ring(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)
