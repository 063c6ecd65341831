"""Deployment (mldep): one stable address for a model, with several versions behind it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from everloop.api.base import (
    Duration,
    Image,
    Model,
    Name40,
    Name46,
    Number,
    Resource,
    Rule,
    Span,
    Time,
    Told,
    Word,
    list_map,
)
from everloop.api.conditions import Condition
from everloop.api.pod import Pod, Resources


class Runtime(Model):
    """The model servers."""

    image: Image | None = Field(
        default=None, description="Model server image; the chart's runtime image if absent."
    )
    replicas: int = Field(default=1, ge=0, le=100, description="Pods per live version.")
    resources: Resources | None = Field(
        default=None, description="Requests and limits of the model server."
    )
    pod: Pod | None = Field(default=None, description="Settings of the model servers' pods.")


class VersionWeight(Model):
    """One live version and its share of the traffic."""

    model_version: Name46 = Field(description="Name of the ModelVersion.")
    weight: int = Field(ge=0, le=100, description="Percent of the traffic.")


class AnalysisMetric(Model):
    """One thing that is compared or bounded during an analysis step."""

    name: Literal["error-rate"] = Field(
        default="error-rate", description="Share of requests that fail."
    )
    versus: Literal["Champion"] | None = Field(
        default=None, description="Compare with the champion in the same step."
    )
    max_regression: Number | None = Field(
        default=None,
        description="Fails when worse than the champion by more than this; 0 if absent.",
    )
    max: Number | None = Field(
        default=None, description="Fails above this value; 0: once a request has failed."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.versus) || has(self.max)", "a metric needs versus: Champion or max"),
        Rule(
            "!has(self.maxRegression) || has(self.versus)", "maxRegression needs versus: Champion"
        ),
        Rule(
            "[has(self.max) ? double(self.max) : 0.0, "
            "has(self.maxRegression) ? double(self.maxRegression) : 0.0]"
            ".all(bound, bound >= 0.0 && bound <= 1.0)",
            "max and maxRegression are shares of the requests, from 0 to 1: 5 % is 0.05",
        ),
    )


class AnalysisSpec(Model):
    """How each analysis step decides."""

    interval: Span = Field(default="1m", description="How often it looks; looking often is sound.")
    max_duration: Span = Field(
        default="24h", description="After this long without a verdict it is Inconclusive."
    )
    min_samples: int = Field(
        default=100,
        ge=1,
        le=10**9,
        description="Requests to the challenger in this step before any verdict.",
    )
    on_inconclusive: Literal["Hold", "Reject"] = Field(
        default="Hold", description="Hold keeps the step; Reject gives the traffic back."
    )
    metrics: list[AnalysisMetric] = Field(
        default_factory=lambda: [AnalysisMetric(max="0.05")],
        min_length=1,
        max_length=8,
        description="What is looked at.",
    )


class Pause(Model):
    """Wait."""

    duration: Duration = Field(description="How long.")


class AnalysisStep(Model):
    """Hold until the analysis has a verdict (no settings of its own)."""


class RolloutStep(Model):
    """One step: exactly one of weight, pause and analysis."""

    weight: int | None = Field(
        default=None, ge=0, le=100, description="Percent of the traffic for the challenger."
    )
    pause: Pause | None = Field(default=None, description="Wait.")
    analysis: AnalysisStep | None = Field(
        default=None, description="Hold until the analysis passes; a Fail rejects the challenger."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.weight), has(self.pause), has(self.analysis)].filter(x, x).size() == 1",
            "a step is exactly one of weight, pause and analysis",
        ),
    )


class Rollout(Model):
    """Follow the model: each new eligible ModelVersion challenges the champion."""

    steps: list[RolloutStep] = Field(
        min_length=1,
        max_length=32,
        description="In order; after the last the challenger is champion.",
    )
    analysis: AnalysisSpec = Field(
        default_factory=AnalysisSpec, description="How analysis steps decide."
    )
    ready_deadline: Span = Field(
        default="10m", description="A challenger that is not ready by then is rejected."
    )


class DeploymentSpec(Model):
    """Which versions serve, and how traffic moves."""

    model_name: Name40 = Field(description="Model family.")
    runtime: Runtime = Field(default_factory=Runtime, description="The model servers.")
    versions: list[VersionWeight] | None = Field(
        default=None,
        min_length=1,
        max_length=8,
        json_schema_extra=list_map("modelVersion"),
        description="Every live version, by hand or from git; weights sum to 100.",
    )
    rollout: Rollout | None = Field(default=None, description="Or follow the model.")
    suspend: bool = Field(default=False, description="Hold a rollout where it is; traffic goes on.")

    immutable: ClassVar[tuple[str, ...]] = ("modelName",)
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.versions) != has(self.rollout)", "write exactly one of versions and rollout"
        ),
        Rule(
            "!has(self.versions) || self.versions.map(v, v.weight).sum() == 100",
            "weights of versions must sum to 100",
        ),
    )


class TrafficShare(Model):
    """What a version gets, as read back from the routers."""

    model_version: str = Field(max_length=63, description="Name of the ModelVersion.")
    weight: int = Field(description="Percent of the traffic.")
    ready_replicas: int = Field(default=0, description="Ready model servers.")
    role: Literal["Champion", "Challenger", "Listed"] = Field(description="Its part.")


class Verdict(Model):
    """What an analysis found in one step."""

    step: int = Field(description="Number of the step, from 0.")
    metric: str = Field(max_length=63, description="What was looked at.")
    verdict: Literal["Pass", "Fail", "Inconclusive"] = Field(description="The result.")
    value: Number | None = Field(default=None, description="Measured.")
    bound: Number | None = Field(default=None, description="What it was held against.")
    samples: int = Field(default=0, description="Requests to the challenger.")
    message: Told = Field(default="", description="For people.")


class RejectedVersion(Model):
    """A version that is not tried again."""

    model_version: str = Field(max_length=63, description="Name of the ModelVersion.")
    reason: Word = Field(description="One word.")
    message: Told = Field(default="", description="For people.")
    time: Time = Field(description="When.")


class DeploymentStatus(Model):
    """What serves now."""

    observed_generation: int = Field(
        default=-1, description="Generation of the spec that this status is about."
    )
    phase: str = Field(default="", max_length=32, description="One word for the column.")
    conditions: list[Condition] = Field(
        default_factory=list, max_length=16, description="Ready, Reconciling, Stalled, Suspended."
    )
    url: str | None = Field(
        default=None, max_length=512, description="Where clients send V2 requests."
    )
    champion: str | None = Field(
        default=None, max_length=63, description="The version that serves."
    )
    challenger: str | None = Field(default=None, max_length=63, description="The version on trial.")
    step: int | None = Field(default=None, description="Number of the rollout's step, from 0.")
    step_started: Time | None = Field(default=None, description="When that step began to count.")
    traffic: list[TrafficShare] | None = Field(
        default=None, max_length=8, description="Weights in force."
    )
    verdicts: list[Verdict] | None = Field(
        default=None, max_length=64, description="Of the rollout under way, or of the last."
    )
    rejected: list[RejectedVersion] | None = Field(
        default=None, max_length=32, description="Not tried again; newest first."
    )


class Deployment(Resource):
    """One stable address for a model."""

    kind_name: ClassVar[str] = "Deployment"
    plural: ClassVar[str] = "deployments"
    short_name: ClassVar[str] = "mldep"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("Model", "string", ".spec.modelName"),
        ("Phase", "string", ".status.phase"),
        ("Champion", "string", ".status.champion"),
        ("Challenger", "string", ".status.challenger"),
        ("Step", "integer", ".status.step"),
        ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )

    spec: DeploymentSpec
    status: DeploymentStatus = Field(default_factory=DeploymentStatus)
