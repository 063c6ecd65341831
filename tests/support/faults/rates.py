"""How often the operator asks for the same: a loop is seen by it, and work is not."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from faults.proxy import Call

WINDOW_SECONDS = 1.0
MOST_ALIKE = 5  # of one thing within a second; a loop that waits for nothing asks for hundreds


@dataclass(frozen=True)
class Peak:
    """The most requests within any second, and what they asked for."""

    count: int = 0
    what: str = ""

    def __str__(self) -> str:
        return f"{self.count} times {self.what}"


def peak(calls: Sequence[Call]) -> Peak:
    """Of one thing: the same verb, resource and name.

    >>> from faults.proxy import classify
    >>> calls = [classify("GET", "/api/v1/namespaces/ml/pods/a", "", b"") for _ in range(3)]
    >>> for call, call.time in zip(calls, (0.0, 0.7, 1.5), strict=True):
    ...     pass
    >>> str(peak(calls))
    '2 times get pods a'
    """
    recent: dict[str, deque[float]] = defaultdict(deque)
    most = Peak()
    for call in sorted(calls, key=lambda call: call.time):
        times = recent[_thing(call)]
        times.append(call.time)
        while times[0] <= call.time - WINDOW_SECONDS:
            times.popleft()
        if len(times) > most.count:
            most = Peak(len(times), _thing(call))
    return most


def _thing(call: Call) -> str:
    return f"{call.verb} {call.resource or call.path} {call.name}".rstrip()
