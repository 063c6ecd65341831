"""ModelVersion: the registry's entry; immutable but for card."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from everloop.api.base import (
    Digest,
    Identifier,
    Image,
    LongText,
    Model,
    Name40,
    Number,
    Opaque,
    Resource,
    Rule,
    Seed,
    Text,
    Time,
    Uri,
)
from everloop.api.conditions import Condition
from everloop.api.trainingrun import GATE_RESULTS, ChampionRef, GateResult


class Artifact(Model):
    """The model's bytes."""

    uri: Uri = Field(description="Content-addressed folder in a store.")
    digest: Digest = Field(
        description="sha256 of the sorted list of (path, size, sha256) of its files."
    )
    format: Literal["sklearn"] = Field(default="sklearn", description="How it is loaded.")
    size_bytes: int = Field(default=0, ge=0, le=2**53, description="Sum of its files.")


class Tensor(Model):
    """One input or output column, in the shape of V2 metadata."""

    name: str = Field(min_length=1, max_length=128, description="Column.")
    datatype: Literal["BOOL", "INT64", "FP64", "BYTES"] = Field(
        description="V2 datatype; BYTES is text."
    )
    shape: list[Annotated[int, Field(ge=-1, le=2**31 - 1)]] = Field(
        default_factory=lambda: [-1, 1], max_length=4, description="-1 is the number of rows."
    )


class Signature(Model):
    """What the model takes and gives."""

    inputs: list[Tensor] = Field(max_length=512, description="One per raw column, in order.")
    outputs: list[Tensor] = Field(
        max_length=64, description="predict, and predict_proba for classifiers."
    )


class Profile(Model):
    """The reference that drift is measured against."""

    uri: Uri = Field(description="A JSON file: bins, fractions, calibration.")
    digest: Digest = Field(description="sha256 of the file.")


class TimeSpan(Model):
    """First and last moment in some rows."""

    start: Time = Field(description="First.")
    end: Time = Field(description="Last.")


class ResolvedData(Model):
    """What a data set was when the run read it."""

    name: Identifier = Field(description="As in spec.data.")
    uri: Uri = Field(description="As in spec.data.")
    digest: Digest = Field(description="sha256 of the sorted list of (path, size, sha256).")
    files: int = Field(default=0, ge=0, le=2**53, description="How many.")
    rows: int | None = Field(default=None, ge=0, le=2**53, description="In its parquet files.")
    time_span: TimeSpan | None = Field(
        default=None, description="Of the time column, where there is one."
    )


class Resolved(Model):
    """Everything a run used, by content."""

    commit: str | None = Field(default=None, max_length=64, description="Git commit of the code.")
    source_digest: str | None = Field(
        default=None, max_length=71, description="Digest of the code's files."
    )
    images: dict[str, Image] = Field(
        default_factory=dict, max_length=16, description="Image by digest, per step."
    )
    data: list[ResolvedData] = Field(
        default_factory=list, max_length=16, description="Data by digest."
    )
    parameters: dict[str, Text] = Field(
        default_factory=dict, max_length=128, description="Hyper-parameters."
    )
    seed: Seed = Field(default=0, description="The seed.")
    training_cutoff: Time | None = Field(
        default=None, description="Latest time in the training data; later rows are unseen."
    )
    runner: str = Field(default="", max_length=512, description="Version and image of the runner.")


class Provenance(Model):
    """Where the model comes from."""

    run: str | None = Field(default=None, max_length=63, description="TrainingRun that made it.")
    run_uid: str | None = Field(default=None, max_length=64, description="Its uid.")
    trigger: Opaque | None = Field(
        default=None,
        description="Why that run existed: a person, an Experiment, a Monitor with signal and value.",
    )
    parent: str | None = Field(
        default=None, max_length=63, description="The champion when a Monitor asked for it."
    )
    # Opaque: a record is not held against what is asked of a new run, today or later, and its
    # schema would cost the API server as much again for each version and each of its statuses.
    run_spec: Opaque | None = Field(
        default=None, description="The whole spec of the run, verbatim."
    )
    resolved: Resolved | None = Field(default=None, description="What the run used, by content.")


class HoldOut(Model):
    """The rows the model was evaluated on."""

    digest: str = Field(max_length=71, description="Of the rows.")
    rows: int = Field(default=0, ge=0, le=2**53, description="How many.")
    time_span: TimeSpan | None = Field(default=None, description="When.")


class Interval(Model):
    """A difference between candidate and champion with its confidence interval; positive is better."""

    difference: Number = Field(description="Candidate minus champion.")
    low: Number = Field(description="Lower end.")
    high: Number = Field(description="Upper end.")


class Versus(Model):
    """The comparison with the champion."""

    champion: ChampionRef = Field(description="Which champion.")
    metrics: dict[str, Number] = Field(
        default_factory=dict, max_length=64, description="Its metrics on the same hold-out."
    )
    intervals: dict[str, Interval] = Field(
        default_factory=dict, max_length=16, description="Difference by metric."
    )


class Evaluation(Model):
    """How good the model was when it was made."""

    metrics: dict[str, Number] = Field(
        default_factory=dict, max_length=64, description="Metrics of the model."
    )
    hold_out: HoldOut | None = Field(default=None, description="Rows it was evaluated on.")
    versus: Versus | None = Field(default=None, description="The comparison with the champion.")
    gates: list[GateResult] = Field(
        default_factory=list,
        max_length=GATE_RESULTS,
        description="Results of the gates; only all Pass or Skipped makes it eligible for a rollout.",
    )


class Card(Model):
    """What people should know; the only part that may change."""

    intended_use: LongText = Field(default="", description="What it is for.")
    limitations: LongText = Field(default="", description="What it is not for.")
    owner: Text = Field(default="", description="Whom to ask.")
    licence: Text = Field(default="", description="Under which licence.")


class ModelVersionSpec(Model):
    """One immutable version of a model."""

    model_name: Name40 = Field(description="Model family.")
    version: int = Field(ge=1, le=99999, description="Number within the family.")
    artifact: Artifact = Field(description="The model's bytes.")
    signature: Signature | None = Field(default=None, description="What it takes and gives.")
    profile: Profile | None = Field(
        default=None, description="The reference for drift; absent: drift can't be measured."
    )
    provenance: Provenance | None = Field(default=None, description="Where it comes from.")
    evaluation: Evaluation | None = Field(default=None, description="How good it was.")
    card: Card | None = Field(default=None, description="What people should know.")

    immutable: ClassVar[tuple[str, ...]] = (
        "modelName",
        "version",
        "artifact",
        "signature",
        "profile",
        "provenance",
        "evaluation",
    )


class ModelVersionStatus(Model):
    """What the operator knows about the version."""

    observed_generation: int = Field(
        default=-1, description="Generation of the spec that this status is about."
    )
    phase: str = Field(default="", max_length=32, description="One word for the column.")
    conditions: list[Condition] = Field(
        default_factory=list, max_length=16, description="Ready, Eligible, Monitorable."
    )
    served_by: list[str] | None = Field(
        default=None, max_length=64, description="Deployments (mldep) that serve it now."
    )


class ModelVersion(Resource):
    """The registry's entry."""

    kind_name: ClassVar[str] = "ModelVersion"
    plural: ClassVar[str] = "modelversions"
    short_name: ClassVar[str] = "mlmv"
    name_limit: ClassVar[int] = 46
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # not string(version): the API server takes its length for unbounded
            "self.metadata.name.startsWith(self.spec.modelName + '-v') "
            "&& self.metadata.name.substring(self.spec.modelName.size() + 2).matches('^[1-9][0-9]*$') "
            "&& int(self.metadata.name.substring(self.spec.modelName.size() + 2)) == self.spec.version",
            "the name must be <modelName>-v<version>",
        ),
    )
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("Model", "string", ".spec.modelName"),
        ("Version", "integer", ".spec.version"),
        ("Run", "string", ".spec.provenance.run"),
        ("Phase", "string", ".status.phase"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )

    spec: ModelVersionSpec
    status: ModelVersionStatus = Field(default_factory=ModelVersionStatus)
