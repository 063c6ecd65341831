"""What an Experiment tries next: Optuna's samplers, rebuilt from the trials for every ask.

Nothing of a study is kept: it is made from the trials' own parameters and values each time, so a
restart loses nothing. Each ask has a sampler of its own, seeded by the seed and the trial's number,
so that the same seed and the same history give the same suggestion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from everloop.api.experiment import ExperimentSpec


@dataclass(frozen=True)
class Trial:
    """One trial as the search sees it; `value` is set when it succeeded."""

    number: int
    parameters: Mapping[str, str]
    state: Literal["Running", "Succeeded", "Failed"]
    value: float | None = None


def size(spec: ExperimentSpec) -> int:
    """How many trials there will be: `trials`, or the whole grid if that is smaller."""
    if spec.algorithm.name != "Grid":
        return spec.trials
    return min(spec.trials, int(_sampling().grid_size(spec)))


def suggest(spec: ExperimentSpec, history: Sequence[Trial], number: int) -> dict[str, str]:
    """Parameters of the trial with this number, as text.

    Raises ValueError when a range cannot be searched as written (a Grid without `step`).
    """
    return dict(_sampling().sample(spec, history, number))


def _sampling() -> ModuleType:
    """Optuna takes 20 MiB of memory: where nobody searches, it is not loaded."""
    from everloop.plans import sampling  # noqa: PLC0415

    return sampling
