"""How rate and memory grow with the runs, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from bench.load.stages import MIB, Stage

mpl.use("svg")
from matplotlib import pyplot


def draw(stages: Sequence[Stage], empty_bytes: int, file: Path) -> None:
    """Two pictures side by side: runs a second beside bare Jobs; memory beside an empty kopf."""
    mpl.rcParams["svg.hashsalt"] = "everloop"  # the same figures give the same file
    counts = [stage.count for stage in stages]
    figure, (rate, memory) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    rate.plot(counts, [stage.jobs.per_second for stage in stages], "o--", label="bare Jobs")
    rate.plot(counts, [stage.runs.per_second for stage in stages], "o-", label="TrainingRuns")
    rate.set(title="completed a second", xlabel="finished runs")
    above = [(stage.resident_bytes - empty_bytes) / MIB for stage in stages]
    memory.plot(counts, above, "o-", label="operator")
    memory.set(title="MiB above an empty kopf", xlabel="finished runs")
    for axes in (rate, memory):
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, metadata={"Date": None})
