"""The soak as a picture: what must be flat, and what is history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench.soak.verdict import MIB

mpl.use("svg")
from matplotlib import pyplot

Kept = Sequence[Mapping[str, Any]]


def draw(samples: Kept, file: Path) -> None:
    """Over minutes: the leading operator's memory, its files and tasks, and objects."""
    mpl.rcParams["svg.hashsalt"] = "everloop"  # the same figures give the same file
    figure, (memory, counts, objects) = pyplot.subplots(
        1, 3, figsize=(11, 3.2), layout="constrained"
    )
    # A gap in each line where another operator's pod begins to lead.
    for number, part in enumerate(leaders(samples)):
        minutes = [sample["t"] / 60 for sample in part]
        own = [sample["operator"] for sample in part]
        first = number == 0
        memory.plot(
            minutes, [one["resident"] / MIB for one in own], "C0", label=_label(first, "memory")
        )
        counts.plot(minutes, [one["fds"] for one in own], "C1", label=_label(first, "open files"))
        counts.plot(minutes, [one["tasks"] for one in own], "C2", label=_label(first, "tasks"))
    memory.set(title="leading operator, MiB", xlabel="minutes")
    counts.set(title="leading operator", xlabel="minutes")
    known = [sample for sample in samples if sample.get("objects")]
    minutes = [sample["t"] / 60 for sample in known]
    for kind, label in (
        ("trainingrun", "TrainingRuns (history)"),
        ("pod", "pods"),
        ("job", "Jobs"),
        ("service", "Services"),
    ):
        objects.plot(minutes, [one["objects"].get(kind, 0) for one in known], label=label)
    objects.set(title="objects", xlabel="minutes")
    for axes in (memory, counts, objects):
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def leaders(samples: Kept) -> list[list[Mapping[str, Any]]]:
    """Samples of each leading pod, one after the other.

    >>> [len(part) for part in leaders([{"operator": {"pod": pod}} for pod in "aab"])]
    [2, 1]
    """
    parts: list[list[Mapping[str, Any]]] = []
    for sample in samples:
        if not sample.get("operator"):
            continue
        if not parts or parts[-1][-1]["operator"]["pod"] != sample["operator"]["pod"]:
            parts.append([])
        parts[-1].append(sample)
    return parts


def _label(first: bool, label: str) -> str | None:
    """One entry of the legend for all parts of a line."""
    return label if first else None
