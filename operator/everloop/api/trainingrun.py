"""TrainingRun: one execution of the training pipeline; immutable but for suspend."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from everloop.api.base import (
    Digest,
    Identifier,
    Image,
    LongTold,
    Model,
    Name40,
    Number,
    Resource,
    Rule,
    Seed,
    Text,
    Time,
    Told,
    Uri,
    Word,
    good_keys,
    list_map,
)
from everloop.api.conditions import Condition
from everloop.api.pod import LocalObject, Pod, Resources, Variable


class GitSource(Model):
    """Code from a git repository, fetched to one commit that is recorded."""

    url: str = Field(
        min_length=1, max_length=1024, description="Repository, as `git clone` takes it."
    )
    revision: str = Field(
        default="HEAD",
        min_length=1,
        max_length=256,
        description="Branch, tag or commit; resolved to a commit once.",
    )
    path: str = Field(
        default="", max_length=512, description="Folder inside the repository that steps start in."
    )


class Source(Model):
    """Where the users' code comes from: exactly one of git and configMapRef."""

    git: GitSource | None = Field(default=None, description="Code from git.")
    config_map_ref: LocalObject | None = Field(
        default=None, description="A small script from a ConfigMap: each key is a file."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.git) != has(self.configMapRef)", "write exactly one of git and configMapRef"
        ),
    )


class DataSet(Model):
    """Input data; every file's digest is recorded before the first step."""

    name: Identifier = Field(description="Folder under $EVERLOOP_DATA_DIR.")
    uri: Uri = Field(
        description="A file, or a folder ending in /, in any store fsspec knows (s3://, gs://, file://)."
    )
    digest: Digest | None = Field(
        default=None, description="A pin: the run fails when the data are not exactly these."
    )


class NewData(Model):
    """Wait until labelled data have arrived; counted in rows of files stored after a moment."""

    min_rows: int = Field(
        ge=1,
        le=10**12,
        description="Rows that must have arrived in all parquet files of the data sets.",
    )
    arrived_after: Time = Field(description="Files stored later than this count.")


class Step(Model):
    """One container of the pipeline; steps run in order and share /workspace."""

    name: str = Field(
        min_length=1,
        max_length=40,
        pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        description="Name of the step, unique.",
    )
    role: Literal["Evaluate"] | None = Field(
        default=None,
        description="Evaluate: run for the new model and for the champion, on the same hold-out.",
    )
    image: Image | None = Field(
        default=None, description="Any image; the chart's runtime image if absent."
    )
    command: list[Text] = Field(
        min_length=1,
        max_length=64,
        description="Command; must be stated, since the step runs under a small shim.",
    )
    args: list[Text] | None = Field(
        default=None, max_length=64, description="Arguments of the command."
    )
    env: list[Variable] | None = Field(
        default=None,
        max_length=64,
        json_schema_extra=list_map("name"),
        description="Environment variables of this step.",
    )
    resources: Resources | None = Field(
        default=None, description="Requests and limits of this step."
    )


class Output(Model):
    """Where the model goes."""

    uri: Uri = Field(
        description="Folder in a store; the artifact gets a content-addressed key below it."
    )
    format: Literal["sklearn"] = Field(
        default="sklearn",
        description="How the model is loaded: sklearn is model/model.joblib, an estimator or pipeline.",
    )


class Gate(Model):
    """A condition on a metric: an absolute bound, or no regression against the champion."""

    metric: Identifier = Field(description="Name in metrics.json.")
    min: Number | None = Field(default=None, description="Fails below this value.")
    max: Number | None = Field(default=None, description="Fails above this value.")
    versus: Literal["Champion"] | None = Field(
        default=None, description="Compare with the Deployment's champion on the same hold-out."
    )
    deployment: Name40 | None = Field(
        default=None, description="Deployment (mldep) whose champion is meant."
    )
    max_regression: Number | None = Field(
        default=None,
        description="Fails when the new model is worse by more than this; 0 if absent.",
    )
    direction: Literal["Maximize", "Minimize"] = Field(
        default="Maximize", description="Which direction of the metric is better."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.min) || has(self.max) || has(self.versus)",
            "a gate needs min, max or versus: Champion",
        ),
        Rule(
            "has(self.versus) == has(self.deployment)",
            "versus: Champion needs deployment (and deployment needs versus)",
        ),
        Rule(
            "!has(self.maxRegression) || has(self.versus)", "maxRegression needs versus: Champion"
        ),
        Rule(
            "self.direction == 'Maximize' || has(self.versus)",
            "direction needs versus: Champion; min and max say themselves which way they bound",
        ),
    )


class TrainingRunSpec(Model):
    """What to train, from what, and what must hold of the result."""

    model_name: Name40 = Field(description="Model family; versions are named <modelName>-v<N>.")
    source: Source | None = Field(
        default=None, description="Users' code; absent when the images contain it."
    )
    data: list[DataSet] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=list_map("name"),
        description="Input data.",
    )
    new_data: NewData | None = Field(
        default=None, description="Wait for labelled data before reading; set by Monitors."
    )
    parameters: dict[Identifier, Text] = Field(
        default_factory=dict,
        max_length=128,
        description="Hyper-parameters, written to params.json as numbers where they are numbers.",
    )
    seed: Seed = Field(default=0, description="$EVERLOOP_SEED of every step.")
    steps: list[Step] = Field(
        min_length=1,
        max_length=8,
        json_schema_extra=list_map("name"),
        description="The pipeline, in order.",
    )
    output: Output = Field(description="Where the model goes.")
    gates: list[Gate] = Field(
        default_factory=list,
        max_length=16,
        description="What must hold before the model is registered.",
    )
    suspend: bool = Field(
        default=False,
        description="Do not start, or stop the running attempt, until this is false again.",
    )
    start_deadline_seconds: int = Field(
        default=600,
        ge=1,
        le=604800,
        description="An attempt fails when its first container has not started by then, or a later one so long after the one before it ended.",
    )
    active_deadline_seconds: int = Field(
        default=86400, ge=1, le=31536000, description="Fails when an attempt takes longer."
    )
    retries: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Further attempts after a failed one, from the first attempt's resolution.",
    )
    pods_ttl_seconds_after_finished: int = Field(
        default=86400,
        ge=0,
        le=31536000,
        alias="podsTTLSecondsAfterFinished",
        description="When the finished Job and its pods are deleted; the run and its report stay.",
    )
    pod: Pod | None = Field(default=None, description="Settings of the run's pods.")

    immutable: ClassVar[tuple[str, ...]] = (
        "modelName",
        "source",
        "data",
        "newData",
        "parameters",
        "seed",
        "steps",
        "output",
        "gates",
        "startDeadlineSeconds",
        "activeDeadlineSeconds",
        "retries",
        "podsTTLSecondsAfterFinished",
        "pod",
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        good_keys("parameters"),
        Rule(
            "self.steps.filter(s, has(s.role) && s.role == 'Evaluate').size() <= 1",
            "at most one step may have role: Evaluate",
        ),
        Rule(
            "!self.gates.exists(g, has(g.versus)) || self.steps.exists(s, has(s.role) && s.role == 'Evaluate')",
            "a gate versus: Champion needs a step with role: Evaluate, which scores both models",
        ),
    )


class GateResult(Model):
    """How a gate ended."""

    metric: str = Field(max_length=63, description="Name in metrics.json.")
    kind: Literal["Min", "Max", "Champion"] = Field(description="Which bound.")
    verdict: Literal["Pass", "Fail", "Inconclusive", "Skipped"] = Field(description="The result.")
    value: Number | None = Field(
        default=None, description="Measured; for Champion the difference, positive is better."
    )
    bound: Number | None = Field(default=None, description="What it was held against.")
    low: Number | None = Field(
        default=None, description="Lower end of the confidence interval of the difference."
    )
    high: Number | None = Field(default=None, description="Upper end of it.")
    reason: Word = Field(default="", description="One word, such as NoChampion.")
    message: Told = Field(default="", description="For people.")


class StepFailure(Model):
    """What failed, where, and what it said last."""

    step: str = Field(max_length=63, description="Step or container.")
    reason: Word = Field(description="One word, such as OOMKilled, Error, ImagePullBackOff.")
    message: LongTold = Field(default="", description="Exit code, and the last lines of its log.")


class ChampionRef(Model):
    """The champion that a run compares with, resolved once before the first attempt."""

    deployment: str = Field(max_length=63, description="The Deployment (mldep).")
    model_version: str = Field(max_length=63, description="Its champion at that time.")
    digest: str = Field(max_length=71, description="Digest of the champion's artifact.")


GATE_RESULTS = 48  # of 16 gates, each with min, max and versus


class TrainingRunStatus(Model):
    """What happened so far."""

    observed_generation: int = Field(
        default=-1, description="Generation of the spec that this status is about."
    )
    phase: str = Field(
        default="", max_length=32, description="One word for the column; decisions use conditions."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Ready, Reconciling, Stalled, Suspended, Complete, Failed.",
    )
    attempt: int = Field(default=0, description="Number of the current or last attempt, from 1.")
    job: str | None = Field(default=None, max_length=63, description="Job of that attempt.")
    start_time: Time | None = Field(default=None, description="When the first attempt was made.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    champion: ChampionRef | None = Field(default=None, description="What the gates compare with.")
    metrics: dict[str, str] | None = Field(
        default=None, max_length=64, description="Metrics of the new model."
    )
    gates: list[GateResult] | None = Field(
        default=None, max_length=GATE_RESULTS, description="Results of the gates."
    )
    failure: StepFailure | None = Field(default=None, description="Why it failed.")
    model_version: str | None = Field(
        default=None, max_length=63, description="The version registered from it."
    )


class TrainingRun(Resource):
    """One execution of the training pipeline."""

    kind_name: ClassVar[str] = "TrainingRun"
    plural: ClassVar[str] = "trainingruns"
    short_name: ClassVar[str] = "mltr"
    name_limit: ClassVar[int] = 52
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("Model", "string", ".spec.modelName"),
        ("Phase", "string", ".status.phase"),
        ("Version", "string", ".status.modelVersion"),
        ("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )

    spec: TrainingRunSpec
    status: TrainingRunStatus = Field(default_factory=TrainingRunStatus)
