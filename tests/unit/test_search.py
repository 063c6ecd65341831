"""The search of an Experiment: reproducible, rebuilt from trials, exhaustive for Grid."""

from __future__ import annotations

from typing import Any

import pytest

from everloop.api.experiment import ExperimentSpec
from everloop.plans.search import Trial, size, suggest

TEMPLATE = {
    "modelName": "m",
    "steps": [{"name": "train", "command": ["train"]}],
    "output": {"uri": "s3://models/m"},
}
PARAMETERS: list[dict[str, Any]] = [
    {"name": "rate", "logUniform": {"min": "0.00001", "max": "0.3"}},
    {"name": "depth", "uniform": {"min": "3", "max": "9", "type": "Int"}},
    {"name": "loss", "categorical": ["log_loss", "exponential"]},
]


def make_spec(algorithm: str = "TPE", seed: int = 3, **fields: Any) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "modelName": "m",
            "objective": {"metric": "val_auc"},
            "parameters": PARAMETERS,
            "algorithm": {"name": algorithm, "seed": seed},
            "template": TEMPLATE,
            **fields,
        }
    )


def run_search(spec: ExperimentSpec, trials: int) -> list[Trial]:
    """A search whose value is best at rate 0.01 and depth 6; every third trial still runs."""
    history: list[Trial] = []
    for number in range(trials):
        parameters = suggest(spec, history, number)
        value = -abs(float(parameters["rate"]) - 0.01) - abs(int(parameters["depth"]) - 6) / 10
        if number % 3 == 2:
            history.append(Trial(number, parameters, "Running"))
        else:
            history.append(Trial(number, parameters, "Succeeded", value))
    return history


@pytest.mark.parametrize("algorithm", ["Random", "TPE"])
def test_the_same_seed_and_history_repeat_the_search(algorithm: str) -> None:
    first = run_search(make_spec(algorithm), 15)
    assert first == run_search(make_spec(algorithm), 15)
    assert first != run_search(make_spec(algorithm, seed=4), 15)


@pytest.mark.parametrize("algorithm", ["Random", "TPE"])
def test_every_suggestion_lies_in_its_range(algorithm: str) -> None:
    for trial in run_search(make_spec(algorithm), 25):
        assert 0.00001 <= float(trial.parameters["rate"]) <= 0.3
        assert 3 <= int(trial.parameters["depth"]) <= 9
        assert trial.parameters["loss"] in ("log_loss", "exponential")


def test_tpe_learns_from_values_and_random_does_not() -> None:
    spec = make_spec("TPE")
    history = run_search(spec, 20)
    better = [
        Trial(item.number, item.parameters, item.state, -(item.value or 0.0)) for item in history
    ]
    assert suggest(spec, history, 20) != suggest(spec, better, 20)
    random = make_spec("Random")
    assert suggest(random, history, 20) == suggest(random, better, 20)


def test_a_trial_edited_out_of_range_is_left_out_of_the_study() -> None:
    spec = make_spec("TPE")
    odd = Trial(0, {"rate": "5", "depth": "x", "loss": "?"}, "Succeeded", 1.0)
    assert suggest(spec, [odd], 1) == suggest(spec, [], 1)


def test_grid_visits_every_point_once() -> None:
    spec = make_spec("Grid", parameters=PARAMETERS[1:], trials=100)
    assert size(spec) == 14
    points = {tuple(suggest(spec, [], number).values()) for number in range(14)}
    assert len(points) == 14


def test_grid_with_steps_includes_both_ends() -> None:
    parameter = {"name": "x", "uniform": {"min": "0.1", "max": "0.5", "step": "0.1"}}
    spec = make_spec("Grid", parameters=[parameter], trials=10)
    values = sorted(suggest(spec, [], number)["x"] for number in range(size(spec)))
    assert values == ["0.1", "0.2", "0.3", "0.4", "0.5"]


def test_grid_says_which_parameter_has_no_list_of_values() -> None:
    with pytest.raises(ValueError, match=r"parameter rate .* uniform with step"):
        size(make_spec("Grid"))


@pytest.mark.parametrize(
    ("uniform", "says"),
    [
        ({"min": "0", "max": "1", "step": "1e-9"}, "1000000000 points"),
        ({"min": "0", "max": "999999999999999", "type": "Int"}, "write fewer values"),
        ({"min": "0", "max": "1e199", "step": "1e-99"}, "step 1e-99 is too small"),
    ],
    ids=["fine-step", "wide-range", "beyond-decimal"],
)
def test_a_grid_that_is_too_large_is_refused_before_it_is_listed(
    uniform: dict[str, str], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        size(make_spec("Grid", parameters=[{"name": "x", "uniform": uniform}]))


def test_parameters_multiply_the_points_of_a_grid() -> None:
    many = [{"name": f"p{number}", "categorical": list("abcdefgh")} for number in range(30)]
    with pytest.raises(ValueError, match="algorithm Grid takes 1000 at most"):
        size(make_spec("Grid", parameters=many))
    assert size(make_spec("Grid", parameters=many[:3])) == 10, "trials, of 512 points"
