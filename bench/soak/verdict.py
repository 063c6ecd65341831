"""What the samples and cycles say: lines through them, objects counted against what is known.

Pure: lists of numbers in, claims out.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

MIB = 1 << 20
WARM_UP = 900.0  # seconds of a process that are not judged
# What bench.load allows: 100 MiB with 5,000 finished runs. And what one step of Python's or the C
# library's allocator is worth: it takes memory in pieces of one MiB.
BYTES_A_RUN = 100 * MIB / 5000
STEP = 2 * MIB
Point = tuple[float, float]

# What one more run leaves for ever: itself, its configuration and report, and its version.
OF_A_RUN = Counter({"trainingrun": 1, "configmap": 2, "modelversion": 1})
# What a need leaves beside its run: the decision to train, and the promotion.
OF_A_NEED = OF_A_RUN + Counter({"controllerrevision": 2})


@dataclass(frozen=True)
class Line:
    """A line through points that a few of them cannot bend: Theil and Sen's."""

    slope: float  # a second
    start: float  # its value at the first point
    seconds: float  # from the first to the last

    @property
    def growth(self) -> float:
        """From the first point to the last."""
        return self.slope * self.seconds


@dataclass(frozen=True)
class Claim:
    """What is promised, with what was measured."""

    text: str
    holds: bool


def line(points: Sequence[Point]) -> Line:
    """The median of all slopes between two points, through the median of the points.

    >>> line([(0, 1), (1, 2), (2, 3), (3, 4), (4, 90)]).slope
    1.0
    """
    if len(points) < 2:
        raise ValueError("a line needs two points")
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] != a[0]]
    slope = float(statistics.median(slopes))
    first, last = points[0][0], points[-1][0]
    start = statistics.median(value - slope * (at - first) for at, value in points)
    return Line(slope, float(start), last - first)


def last_process(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Samples of the operator that led last, without its first minutes as a leader."""
    good = [sample for sample in samples if sample.get("operator")]
    if not good:
        return []
    pod = good[-1]["operator"]["pod"]
    own = [sample for sample in good if sample["operator"]["pod"] == pod]
    return [sample for sample in own if sample["t"] >= own[0]["t"] + WARM_UP]


def expected(base: Mapping[str, int], needs: int, by_hand: int) -> dict[str, int]:
    """Objects there must be at rest after so many needs and runs by hand.

    >>> expected({"pod": 3, "trainingrun": 1}, 2, 1)["trainingrun"]
    4
    """
    wanted = Counter(base)
    for kind, count in OF_A_NEED.items():
        wanted[kind] += count * needs
    for kind, count in OF_A_RUN.items():
        wanted[kind] += count * by_hand
    return dict(wanted)


def differences(wanted: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """Kinds of which there are more or fewer than there must be.

    >>> differences({"pod": 3, "job": 0}, {"pod": 3, "job": 1, "service": 1})
    ['job: 1, not 0', 'service: 1, not 0']
    """
    kinds = sorted({*wanted, *found})
    return [
        f"{kind}: {found.get(kind, 0)}, not {wanted.get(kind, 0)}"
        for kind in kinds
        if found.get(kind, 0) != wanted.get(kind, 0)
    ]


def memory(what: str, points: Sequence[Point], runs: float) -> Claim:
    """Whether resident memory grew by no more than what finished runs may cost."""
    fit = line(points)
    allowed = BYTES_A_RUN * runs + STEP
    hours = fit.seconds / 3600
    return Claim(
        f"{what}: {fit.start / MIB:.1f} MiB and {fit.growth / MIB:+.2f} MiB in {hours:.2f} h, in "
        f"which {runs:.0f} runs ended; at most {allowed / MIB:+.2f} MiB wanted "
        f"(20 MiB for 1,000 runs, and {STEP / MIB:.0f} MiB)",
        fit.growth <= allowed,
    )


def flat(what: str, points: Sequence[Point], tolerance: float) -> Claim:
    """Whether a count did not grow."""
    fit = line(points)
    values = [value for _, value in points]
    return Claim(
        f"{what}: {min(values):.0f} to {max(values):.0f}, {fit.growth:+.2f} along the line; at "
        f"most {tolerance:+.0f} wanted",
        fit.growth <= tolerance,
    )


def thirds(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and of the last third.

    >>> thirds([1, 1, 9, 2, 3, 3])
    (1.0, 3.0)
    """
    part = max(1, len(values) // 3)
    return float(statistics.median(values[:part])), float(statistics.median(values[-part:]))
