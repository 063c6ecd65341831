"""Experiment: a search over TrainingRuns."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from everloop.api.base import (
    Identifier,
    Model,
    Name40,
    Number,
    Resource,
    Rule,
    Seed,
    Text,
    Time,
    list_map,
)
from everloop.api.conditions import Condition
from everloop.api.trainingrun import TrainingRunSpec


class Objective(Model):
    """What the search makes better."""

    metric: Identifier = Field(description="Name in metrics.json.")
    direction: Literal["Maximize", "Minimize"] = Field(
        default="Maximize", description="Which direction is better."
    )
    goal: Number | None = Field(
        default=None, description="No new trial starts once a trial is at least this good."
    )


class Range(Model):
    """A range of numbers, both ends included."""

    min: Number = Field(description="Smallest value.")
    max: Number = Field(description="Largest value.")
    type: Literal["Float", "Int"] = Field(default="Float", description="Int: whole numbers only.")
    step: Number | None = Field(
        default=None, description="Distance of the values; needed by algorithm Grid for Float."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("double(self.min) < double(self.max)", "min must be below max"),
        Rule("!has(self.step) || double(self.step) > 0.0", "step must be above 0"),
        Rule(
            "self.type == 'Float' || [self.min, self.max].all(bound, bound.matches('^-?[0-9]{1,15}$'))",
            "min and max of type: Int must be whole numbers, such as 3",
        ),
        Rule(
            "self.type == 'Float' || !has(self.step) || self.step.matches('^[0-9]{1,15}$')",
            "step of type: Int must be a whole number",
        ),
    )


class LogRange(Model):
    """A range of positive numbers searched on a logarithmic scale."""

    min: Number = Field(description="Smallest value, above 0.")
    max: Number = Field(description="Largest value.")
    type: Literal["Float", "Int"] = Field(default="Float", description="Int: whole numbers only.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "double(self.min) > 0.0 && double(self.min) < double(self.max)",
            "0 < min < max must hold",
        ),
        Rule(
            "self.type == 'Float' || [self.min, self.max].all(bound, bound.matches('^[0-9]{1,15}$'))",
            "min and max of type: Int must be whole numbers, such as 3",
        ),
    )


class Parameter(Model):
    """One dimension of the search: exactly one of uniform, logUniform, categorical."""

    name: Identifier = Field(description="Key in params.json.")
    uniform: Range | None = Field(default=None, description="Numbers in a range.")
    log_uniform: LogRange | None = Field(
        default=None, description="Numbers in a range, logarithmic."
    )
    categorical: list[Text] | None = Field(
        default=None, min_length=1, max_length=64, description="One of these values."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.uniform), has(self.logUniform), has(self.categorical)].filter(x, x).size() == 1",
            "write exactly one of uniform, logUniform and categorical",
        ),
    )


class Algorithm(Model):
    """How the next trial is chosen."""

    name: Literal["Random", "TPE", "Grid"] = Field(
        default="TPE",
        description="The sampler (Optuna's); Grid takes 1000 points at most.",
    )
    seed: Seed = Field(
        default=0, description="The same seed and the same trials give the same suggestions."
    )


class OnComplete(Model):
    """What happens with the best trial."""

    register_: Literal["None", "Best"] = Field(
        default="None",
        alias="register",
        description="Best: the best trial's model becomes a ModelVersion.",
    )


class ExperimentSpec(Model):
    """What to search, how, and what to do with the best."""

    model_name: Name40 = Field(description="Model family.")
    objective: Objective = Field(description="What the search makes better.")
    parameters: list[Parameter] = Field(
        min_length=1,
        max_length=32,
        json_schema_extra=list_map("name"),
        description="The space.",
    )
    algorithm: Algorithm = Field(
        default_factory=Algorithm, description="How the next trial is chosen."
    )
    trials: int = Field(default=10, ge=1, le=500, description="How many trials in all.")
    parallel_trials: int = Field(default=1, ge=1, le=50, description="How many at once.")
    max_failed_trials: int = Field(
        default=3,
        ge=0,
        le=500,
        description="The Experiment fails when more trials than this failed.",
    )
    suspend: bool = Field(
        default=False, description="Start no new trials; running ones are suspended too."
    )
    template: TrainingRunSpec = Field(
        description="Spec of the trials; parameters of the search are added to its own."
    )
    on_complete: OnComplete = Field(
        default_factory=OnComplete, description="What happens with the best trial."
    )

    immutable: ClassVar[tuple[str, ...]] = (
        "modelName",
        "objective",
        "parameters",
        "algorithm",
        "template",
        "onComplete",
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.template.modelName == self.modelName",
            "template.modelName must be the Experiment's modelName",
        ),
    )


class BestTrial(Model):
    """The best trial so far."""

    trial: int = Field(description="Its number, from 0.")
    run: str = Field(max_length=63, description="Its TrainingRun.")
    value: Number = Field(description="Its objective.")
    parameters: dict[str, str] = Field(
        default_factory=dict, max_length=32, description="Its parameters."
    )


class ExperimentStatus(Model):
    """How far the search is."""

    observed_generation: int = Field(
        default=-1, description="Generation of the spec that this status is about."
    )
    phase: str = Field(default="", max_length=32, description="One word for the column.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Ready, Reconciling, Stalled, Suspended, Complete, Failed.",
    )
    created: int = Field(
        default=0, description="Trials made so far; a deleted one is not made again."
    )
    running: int = Field(default=0, description="Trials under way.")
    succeeded: int = Field(default=0, description="Trials with a value.")
    failed: int = Field(default=0, description="Trials without one.")
    best: BestTrial | None = Field(default=None, description="The best trial so far.")
    model_version: str | None = Field(
        default=None, max_length=63, description="The version registered from it."
    )
    start_time: Time | None = Field(default=None, description="When the first trial was made.")
    completion_time: Time | None = Field(default=None, description="When the search ended.")


class Experiment(Resource):
    """A search over TrainingRuns."""

    kind_name: ClassVar[str] = "Experiment"
    plural: ClassVar[str] = "experiments"
    short_name: ClassVar[str] = "mlexp"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("Model", "string", ".spec.modelName"),
        ("Phase", "string", ".status.phase"),
        ("Done", "integer", ".status.succeeded"),
        ("Trials", "integer", ".spec.trials"),
        ("Best", "string", ".status.best.value"),
        ("Version", "string", ".status.modelVersion"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )

    spec: ExperimentSpec
    status: ExperimentStatus = Field(default_factory=ExperimentStatus)
