"""How often the operator asks for the same: a loop is seen by it, and work is not."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from faults.proxy import Call

# Of one thing, so many within so many seconds. A rollout by itself writes its status 8 times in a
# second and 13 times in four; where a view lags, each pass may find one thing more that is old, and
# the next follows at once. Nothing goes on like that: a loop with more than three a second breaks
# the last bound (what is tried again and again while all requests fail is 22 there), one that waits
# for nothing the first.
BOUNDS = ((1.0, 12), (4.0, 20), (12.0, 36))


@dataclass(frozen=True)
class Peak:
    """The most requests for one thing within some seconds."""

    seconds: float
    count: int = 0
    what: str = ""

    def __str__(self) -> str:
        return f"{self.count} times {self.what} in {self.seconds:g} s"


Peaks = tuple[Peak, ...]  # one for each of BOUNDS


def peaks(calls: Sequence[Call]) -> Peaks:
    """Of one thing: the same verb, resource, selector and name.

    >>> from faults.proxy import classify
    >>> calls = [classify("GET", "/api/v1/namespaces/ml/pods/a", "", b"") for _ in range(3)]
    >>> for call, call.time in zip(calls, (0.0, 0.7, 1.5), strict=True):
    ...     pass
    >>> [(peak.count, peak.what) for peak in peaks(calls)]
    [(2, 'get pods a'), (3, 'get pods a'), (3, 'get pods a')]
    """
    ordered = sorted(calls, key=lambda call: call.time)
    return tuple(_peak(ordered, seconds) for seconds, _ in BOUNDS)


def highest(several: Sequence[Peaks]) -> Peaks:
    """Of several runs."""
    return tuple(max(same, key=lambda peak: peak.count) for same in zip(*several, strict=True))


def bounded(found: Peaks) -> bool:
    """Whether none is too high."""
    return all(peak.count <= most for peak, (_, most) in zip(found, BOUNDS, strict=True))


def told(found: Peaks) -> str:
    """For people."""
    return ", ".join(str(peak) for peak in found)


def _peak(calls: Sequence[Call], seconds: float) -> Peak:
    recent: dict[str, deque[float]] = defaultdict(deque)
    most = Peak(seconds)
    for call in calls:
        times = recent[_thing(call)]
        times.append(call.time)
        while times[0] <= call.time - seconds:
            times.popleft()
        if len(times) > most.count:
            most = Peak(seconds, len(times), _thing(call))
    return most


def _thing(call: Call) -> str:
    """Two lists by different labels are two things."""
    selector = call.parameters.get("labelSelector", "")
    return " ".join(filter(None, (call.verb, call.resource or call.path, call.name, selector)))
