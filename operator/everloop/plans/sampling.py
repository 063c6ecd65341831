"""Optuna's samplers behind plans/search.py, which loads this module once somebody searches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState

from everloop.api.experiment import ExperimentSpec, Parameter
from everloop.plans.search import Trial

MOST_POINTS = 1000  # of a grid; a search has 500 trials at most
optuna.logging.set_verbosity(optuna.logging.ERROR)  # its log would repeat every rebuilt trial


def sample(spec: ExperimentSpec, history: Sequence[Trial], number: int) -> dict[str, str]:
    """See search.suggest."""
    if spec.algorithm.name == "Grid":
        return _grid_point(spec, number)
    distributions = {item.name: distribution(item) for item in spec.parameters}
    study = optuna.create_study(direction=_direction(spec), sampler=_sampler(spec, number))
    for trial in sorted(history, key=lambda item: item.number):
        frozen = _frozen(trial, distributions)
        if frozen is not None:
            study.add_trial(frozen)
    asked = study.ask(distributions)
    return {name: _text(asked.params[name]) for name in distributions}


def grid_size(spec: ExperimentSpec) -> int:
    """How many points a grid has. Raises ValueError when it cannot be listed."""
    return math.prod(len(values) for values in _grid(spec).values())


def distribution(parameter: Parameter) -> BaseDistribution:
    """The Optuna distribution of a parameter."""
    if parameter.categorical is not None:
        return CategoricalDistribution(parameter.categorical)
    if parameter.log_uniform is not None:
        low, high = float(parameter.log_uniform.min), float(parameter.log_uniform.max)
        if parameter.log_uniform.type == "Int":
            return IntDistribution(math.ceil(low), math.floor(high), log=True)
        return FloatDistribution(low, high, log=True)
    assert parameter.uniform is not None  # the CRD's rule: exactly one of the three
    low, high = float(parameter.uniform.min), float(parameter.uniform.max)
    step = parameter.uniform.step
    if parameter.uniform.type == "Int":
        return IntDistribution(math.ceil(low), math.floor(high), step=int(float(step or 1)))
    try:
        return FloatDistribution(low, high, step=float(step) if step else None)
    except ArithmeticError as error:  # Optuna counts the steps in 28 decimal digits
        raise ValueError(
            f"parameter {parameter.name}: step {step} is too small for a range from "
            f"{parameter.uniform.min} to {parameter.uniform.max}"
        ) from error


def _direction(spec: ExperimentSpec) -> StudyDirection:
    return StudyDirection[spec.objective.direction.upper()]


def _sampler(spec: ExperimentSpec, number: int) -> optuna.samplers.BaseSampler:
    text = f"{spec.algorithm.seed}/{number}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    if spec.algorithm.name == "Random":
        return optuna.samplers.RandomSampler(seed=seed)
    # constant_liar: parallel trials do not ask for the same place twice
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _frozen(
    trial: Trial, distributions: Mapping[str, BaseDistribution]
) -> optuna.trial.FrozenTrial | None:
    try:
        parameters = {
            name: _value(trial.parameters[name], item) for name, item in distributions.items()
        }
    except (KeyError, ValueError):
        return None  # a trial whose parameters were changed by hand teaches nothing
    states = {
        "Running": TrialState.RUNNING,
        "Succeeded": TrialState.COMPLETE,
        "Failed": TrialState.FAIL,
    }
    return optuna.trial.create_trial(
        state=states[trial.state],
        params=parameters,
        distributions=dict(distributions),
        value=trial.value if trial.state == "Succeeded" else None,
    )


def _value(text: str, item: BaseDistribution) -> Any:
    if isinstance(item, CategoricalDistribution):
        return text
    return int(text) if isinstance(item, IntDistribution) else float(text)


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _check_grid(spec: ExperimentSpec) -> None:
    """Raises ValueError for a grid that is too large to be listed; nothing is listed for it."""
    points = math.prod(_count(distribution(parameter)) for parameter in spec.parameters)
    if points > MOST_POINTS:
        raise ValueError(
            f"the grid has {points} points, algorithm Grid takes {MOST_POINTS} at most: "
            "write fewer values, a larger step, or algorithm TPE"
        )


def _count(item: BaseDistribution) -> int:
    """How many values a parameter has on a grid; 1 where it has no finite list."""
    if isinstance(item, CategoricalDistribution):
        return len(item.choices)
    if isinstance(item, IntDistribution) and not item.log:
        return (item.high - item.low) // item.step + 1
    if isinstance(item, FloatDistribution) and item.step:
        return math.floor((item.high - item.low) / item.step + 1e-9) + 1
    return 1


def _grid(spec: ExperimentSpec) -> dict[str, list[Any]]:
    """Every value of every parameter."""
    _check_grid(spec)
    values: dict[str, list[Any]] = {}
    for parameter in spec.parameters:
        item = distribution(parameter)
        if isinstance(item, CategoricalDistribution):
            values[parameter.name] = list(item.choices)
        elif isinstance(item, IntDistribution) and not item.log:
            values[parameter.name] = list(range(item.low, item.high + 1, item.step))
        elif isinstance(item, FloatDistribution) and item.step:
            count = math.floor((item.high - item.low) / item.step + 1e-9) + 1
            values[parameter.name] = [round(item.low + i * item.step, 12) for i in range(count)]
        else:
            raise ValueError(
                f"parameter {parameter.name} has no finite list of values for algorithm Grid: "
                "write categorical, uniform with type: Int, or uniform with step"
            )
    return values


def _grid_point(spec: ExperimentSpec, number: int) -> dict[str, str]:
    """The grid's point with this number, in the order that Optuna's sampler gives for the seed."""
    grid = _grid(spec)
    sampler = optuna.samplers.GridSampler(grid, seed=spec.algorithm.seed)
    study = optuna.create_study(direction=_direction(spec), sampler=sampler)
    for _ in range(number):
        study.ask({name: CategoricalDistribution(values) for name, values in grid.items()})
    asked = study.ask({name: CategoricalDistribution(values) for name, values in grid.items()})
    return {name: _text(asked.params[name]) for name in grid}
