"""A run's report: what the runner says at the end, kept verbatim in the ConfigMap `<run>-report`.

It is not a resource but the durable record from which status, studies and ModelVersions are
computed, so what the ModelVersion's CRD would refuse is refused here, while the runner still waits
for an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from everloop import contract
from everloop.api.base import Identifier, LongText, Model, Number, Time, first_problem
from everloop.api.modelversion import (
    Artifact,
    HoldOut,
    Interval,
    Profile,
    ResolvedData,
    Signature,
)
from everloop.api.trainingrun import StepFailure

Metrics = Annotated[dict[Identifier, Number], Field(max_length=64)]


class StepRecord(Model):
    """What the shim recorded of one step."""

    name: str = Field(max_length=63)
    exit_code: int
    signal: int | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    tolerated: bool = False
    last_lines: list[str] = Field(default_factory=list, max_length=20)


class ReportResolved(Model):
    """What the run used, as far as the runner knows it; the operator adds the images' digests."""

    commit: str | None = Field(default=None, max_length=64)
    source_digest: str | None = Field(default=None, max_length=71)
    data: list[ResolvedData] = Field(default_factory=list, max_length=16)
    parameters: dict[str, str] = Field(default_factory=dict, max_length=128)
    seed: int = 0
    training_cutoff: Time | None = None
    runner: str = Field(default="", max_length=512)


class ReportVersus(Model):
    """The champion's pass over the same hold-out; `intervals` are differences, positive is better."""

    outcome: Literal["Compared", "Failed"]
    message: LongText = ""
    metrics: Metrics = Field(default_factory=dict)
    intervals: dict[Identifier, Interval] = Field(default_factory=dict, max_length=16)


class Report(Model):
    """The report of one attempt."""

    schema_: Literal[1] = Field(alias="schema")
    namespace: str = Field(max_length=63)
    run: str = Field(max_length=63)
    uid: str = Field(max_length=64)
    attempt: int = Field(ge=1)
    outcome: Literal["Succeeded", "Failed"]
    failure: StepFailure | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    steps: list[StepRecord] = Field(default_factory=list, max_length=32)
    resolved: ReportResolved | None = None
    artifact: Artifact | None = None
    signature: Signature | None = None
    profile: Profile | None = None
    not_monitorable: LongText | None = None
    metrics: Metrics = Field(default_factory=dict)
    hold_out: HoldOut | None = None
    versus: ReportVersus | None = None

    @property
    def succeeded(self) -> bool:
        return self.outcome == "Succeeded"


def parse(text: str | bytes) -> Report:
    """Read a report. Raises ValueError that says where it is wrong."""
    try:
        plain = text.decode() if isinstance(text, bytes) else text  # json would guess at UTF-16
        report = Report.model_validate(json.loads(plain))
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if report.succeeded and report.artifact is None:
        raise ValueError("artifact: a report of a succeeded run must name the artifact")
    if not report.succeeded and report.failure is None:
        raise ValueError("failure: a report of a failed run must say what failed")
    _check_times(report)
    return report


def _check_times(report: Report) -> None:
    """Every time must be RFC 3339 with an offset, as the API server wants it in status and spec."""
    spans = [report.hold_out.time_span if report.hold_out else None]
    times = [("startedAt", report.started_at), ("finishedAt", report.finished_at)]
    if report.resolved:
        spans += [item.time_span for item in report.resolved.data]
        times.append(("resolved.trainingCutoff", report.resolved.training_cutoff))
    for span in spans:
        if span is not None:
            times += [("timeSpan.start", span.start), ("timeSpan.end", span.end)]
    for where, text in times:
        try:
            complete = text is None or datetime.fromisoformat(text).tzinfo is not None
        except ValueError:
            complete = False
        if not complete or (text and "T" not in text):
            raise ValueError(f"{where}: {text!r} is not a time: write it as 2013-02-28T23:00:00Z")


def from_config_map(config_map: Mapping[str, Any] | None) -> Report | None:
    """The report in a ConfigMap `<run>-report`; None if there is none or it cannot be read."""
    text = (config_map or {}).get("data", {}).get(contract.REPORT_KEY)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError:
        return None
