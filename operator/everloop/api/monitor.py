"""Monitor: watches what a Deployment serves, and asks for a new model when it must."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, get_args

from pydantic import Field

from everloop.api.base import (
    Duration,
    Identifier,
    Model,
    Name40,
    Number,
    Resource,
    Rule,
    Span,
    Text,
    Time,
    Told,
    cut,
    good_keys,
)
from everloop.api.conditions import Condition
from everloop.api.trainingrun import Gate

Column = Annotated[str, Field(min_length=1, max_length=128)]
Signal = Literal["InputDrift", "OutputDrift", "ErrorsHigh", "Absent"]


THRESHOLD: Final = Rule(
    "double(self.threshold) > 0.0",
    "threshold is a population stability index above 0: 0.1 is a moderate shift, 0.25 a large one",
)


class InputDrift(Model):
    """Drift of the inputs, by population stability index."""

    features: list[Column] = Field(
        default_factory=lambda: ["*"],
        min_length=1,
        max_length=256,
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description="Columns to watch; * is all.",
    )
    method: Literal["PSI"] = Field(default="PSI", description="Population stability index.")
    threshold: Number = Field(
        default="0.1",
        description="Floor of the bound, above 0; sampling noise and calibration may raise it.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (THRESHOLD,)


class OutputDrift(Model):
    """Drift of the outputs, by population stability index."""

    method: Literal["PSI"] = Field(default="PSI", description="Population stability index.")
    threshold: Number = Field(default="0.1", description="Floor of the bound, above 0.")

    rules: ClassVar[tuple[Rule, ...]] = (THRESHOLD,)


class Errors(Model):
    """Failing requests."""

    rate: Number = Field(default="0.01", description="Highest share of requests that may fail.")
    window: Span = Field(default="5m", description="Over this long.")
    for_: Duration = Field(
        default="0s", alias="for", description="It must hold this long before the alert fires."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # A share above 1, where everything fails, does not exist: such an alert never fires.
            "double(self.rate) >= 0.0 && double(self.rate) < 1.0",
            "rate is a share of the requests, from 0 to below 1: 5 % is 0.05",
        ),
    )


class Absence(Model):
    """No series at all from the champion's servers."""

    for_: Duration = Field(
        default="5m", alias="for", description="It must hold this long before the alert fires."
    )


class NewDataNeed(Model):
    """Labelled data that must have arrived before a retraining reads them."""

    min_rows: int = Field(ge=1, le=10**12, description="Rows in files stored since.")
    since: Literal["ChampionTrained", "AlertStart"] = Field(
        default="ChampionTrained",
        description="Files stored after the champion's run ended, or after the alert began.",
    )


class Overrides(Model):
    """What the new run changes in the champion's spec."""

    parameters: dict[Identifier, Text] | None = Field(
        default=None, max_length=128, description="Hyper-parameters to set."
    )
    gates: list[Gate] | None = Field(
        default=None, max_length=16, description="Gates instead of the champion's own."
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=31536000,
        description="Deadline of the run, waiting for data included.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (good_keys("parameters"),)


class Retrain(Model):
    """When a new TrainingRun is made, from the champion's own spec."""

    # not `on`, which YAML 1.1 and so kubectl read as the boolean true
    signals: list[Signal] = Field(
        min_length=1,
        max_length=len(get_args(Signal)),
        json_schema_extra={"x-kubernetes-list-type": "set"},
        description="Signals that ask for it.",
    )
    for_: Duration = Field(
        default="0s",
        alias="for",
        description="A drift signal must hold this long before the alert fires.",
    )
    cooldown: Duration = Field(
        default="24h", description="From the end of the last run this Monitor made."
    )
    new_data: NewDataNeed | None = Field(
        default=None, description="Labelled data the run waits for."
    )
    overrides: Overrides | None = Field(
        default=None, description="What the run changes in the champion's spec."
    )


class MonitorSpec(Model):
    """What is watched and what follows."""

    deployment: Name40 = Field(description="The Deployment (mldep).")
    window: Span = Field(default="1d", description="Drift is measured over this long.")
    min_samples: int = Field(
        default=500,
        ge=1,
        le=10**9,
        description="Requests in a window before any verdict; for errors 1/rate answers if that is less.",
    )
    inputs: InputDrift | None = Field(default=None, description="Drift of inputs.")
    outputs: OutputDrift | None = Field(default=None, description="Drift of outputs.")
    errors: Errors | None = Field(default=None, description="Failing requests.")
    absence: Absence | None = Field(default=None, description="Series that are gone.")
    retrain: Retrain | None = Field(default=None, description="When to train again.")
    suspend: bool = Field(default=False, description="Keep watching; make no run.")

    immutable: ClassVar[tuple[str, ...]] = ("deployment",)
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.inputs) || has(self.outputs) || has(self.errors) || has(self.absence)",
            "watch at least one of inputs, outputs, errors and absence",
        ),
        Rule(
            "!has(self.retrain) || !('InputDrift' in self.retrain.signals) || has(self.inputs)",
            "retrain on InputDrift needs inputs",
        ),
        Rule(
            "!has(self.retrain) || !('OutputDrift' in self.retrain.signals) || has(self.outputs)",
            "retrain on OutputDrift needs outputs",
        ),
        Rule(
            "!has(self.retrain) || !('ErrorsHigh' in self.retrain.signals) || has(self.errors)",
            "retrain on ErrorsHigh needs errors",
        ),
        Rule(
            "!has(self.retrain) || !('Absent' in self.retrain.signals) || has(self.absence)",
            "retrain on Absent needs absence",
        ),
    )


class SignalStatus(Model):
    """One signal as last seen when it changed its state."""

    name: Signal = Field(description="Which.")
    state: Literal["OK", "Pending", "Firing", "NoData"] = Field(description="Its state.")
    value: Number | None = Field(
        default=None, description="Measured when the state changed; drift as multiple of the bound."
    )
    bound: Number | None = Field(default=None, description="What it was held against.")
    samples: int | None = Field(default=None, description="Requests in the window.")
    top: list[str] | None = Field(
        default=None,
        max_length=8,
        description="Columns that moved most, each with its PSI over its bound.",
    )
    since: Time | None = Field(default=None, description="When the state changed.")


class RetrainRecord(Model):
    """A run this Monitor made."""

    run: str = Field(max_length=63, description="The TrainingRun.")
    signal: Annotated[str, cut(32), Field(max_length=32)] = Field(description="Why.")
    time: Time = Field(description="When.")


class Refusal(Model):
    """A retraining that was wanted and not made."""

    reason: str = Field(
        max_length=64,
        description="One word, such as Cooldown, RunInFlight, RolloutInFlight, Suspended.",
    )
    count: int = Field(description="How many alerts were refused for it.")
    message: Told = Field(default="", description="Of the last one.")
    last: Time = Field(description="When that was.")


class MonitorStatus(Model):
    """What the watch sees."""

    observed_generation: int = Field(
        default=-1, description="Generation of the spec that this status is about."
    )
    phase: str = Field(default="", max_length=32, description="One word for the column.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Ready, RulesLoaded, TargetsUp, RetentionSufficient, Monitorable, Reconciling, Stalled, Suspended.",
    )
    champion: str | None = Field(
        default=None, max_length=63, description="The version that is watched."
    )
    clock_speedup: Number | None = Field(
        default=None, description="Present when time is accelerated by the chart."
    )
    signals: list[SignalStatus] | None = Field(
        default=None, max_length=8, description="State of each signal."
    )
    last_retrain: RetrainRecord | None = Field(default=None, description="The newest run it made.")
    next_allowed_retrain: Time | None = Field(default=None, description="End of the cooldown.")
    refusals: list[Refusal] | None = Field(
        default=None, max_length=16, description="Retrainings that were wanted and not made."
    )


class Monitor(Resource):
    """Watches what a Deployment serves."""

    kind_name: ClassVar[str] = "Monitor"
    plural: ClassVar[str] = "monitors"
    short_name: ClassVar[str] = "mlmon"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("Deployment", "string", ".spec.deployment"),
        ("Phase", "string", ".status.phase"),
        ("Champion", "string", ".status.champion"),
        ("Last-Run", "string", ".status.lastRetrain.run"),
        ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )

    spec: MonitorSpec
    status: MonitorStatus = Field(default_factory=MonitorStatus)
