"""The status of a TrainingRun: one word for the column, conditions for everybody else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from everloop import contract
from everloop.api.conditions import Condition, condition, find, merge, timestamp
from everloop.api.report import Report
from everloop.api.trainingrun import (
    ChampionRef,
    GateResult,
    StepFailure,
    TrainingRun,
    TrainingRunStatus,
)
from everloop.manifests.trainingrun_job import job_name
from everloop.plans.gates import eligible, explain, failed
from everloop.plans.plan import Event
from everloop.plans.trainingrun_attempt import Standing

Object = Mapping[str, Any]


def progress_status(
    raw: Object,
    run: TrainingRun,
    stands: Standing,
    now: datetime,
    *,
    attempt: int,
    started: str | None,
    champion: Mapping[str, Any] | None,
    retrying: bool = False,
) -> dict[str, Any]:
    """A run that is not over: it waits, starts, runs, or is suspended.

    `attempt` is the last one that was seen: what is only about to be made may yet be refused.
    """
    if run.spec.suspend:
        message = "spec.suspend is true; set it to false to go on"
        conditions = [
            condition(contract.READY, False, contract.SUSPENDED, message),
            condition(contract.SUSPENDED, True, contract.SUSPENDED, message),
        ]
        phase = "Suspended"
    else:
        reason, message = _reason(stands.reason or _word(stands)), stands.message
        new_data = run.spec.new_data
        if stands.state == "Running" and stands.step == contract.CONTAINER_FETCH and new_data:
            message += (
                f"; it waits until {new_data.min_rows} rows have arrived that were stored after "
                f"{new_data.arrived_after}"
            )
        if retrying:
            message = f"attempt {attempt} failed ({reason}), the next is made: {message}"
            reason = "Retrying"
        conditions = [
            condition(contract.READY, False, reason, message),
            condition(contract.RECONCILING, True, reason, message),
        ]
        phase = _word(stands)
    return _status(
        raw,
        run,
        now,
        conditions,
        phase=phase,
        attempt=attempt,
        started=started or timestamp(now) if attempt else None,
        champion=ChampionRef.model_validate(champion) if champion else None,
    )


def finished_status(
    raw: Object,
    run: TrainingRun,
    report: Report,
    now: datetime,
    *,
    gates: Sequence[GateResult] = (),
    champion: ChampionRef | None = None,
    version: str | None = None,
    registers: bool = True,
) -> dict[str, Any]:
    """A run with a report. `version` is what was registered from it, None if not (yet)."""
    phase, conditions = _outcome(report, gates, version, registers)
    over = phase != "Registering"
    return _status(
        raw,
        run,
        now,
        conditions,
        phase=phase,
        attempt=report.attempt,
        started=report.started_at or timestamp(now),
        report=report,
        over=over,
        champion=champion,
        metrics=report.metrics if report.succeeded else None,
        gates=list(gates) or None,
        failure=report.failure,
        version=version,
    )


def transition_events(before: Mapping[str, Any] | None, after: dict[str, Any]) -> tuple[Event, ...]:
    """An Event where the reason of Ready changes: what happened, in the order people read it.

    That it starts and runs, the Job's and the pod's events say.
    """
    old, new = find(dict(before or {}), contract.READY), find(after, contract.READY)
    if new is None or (old and old.get("reason") == new["reason"]):
        return ()
    quiet = {"Starting", "Waiting", "Running", "Registering"}
    if new["reason"] in quiet:
        return ()
    normal = {"Registered", "Complete", "Suspended"}
    kind = "Normal" if new["reason"] in normal else "Warning"
    message = new["message"] or new["reason"]
    return (Event(new["reason"], message, "Normal" if kind == "Normal" else "Warning"),)


def _outcome(
    report: Report, gates: Sequence[GateResult], version: str | None, registers: bool
) -> tuple[str, list[Condition]]:
    """Phase and conditions by a report."""
    if report.failure is not None and not report.succeeded:
        failure = report.failure
        reason, message = _reason(failure.reason), failure.message
        return "Failed", [
            condition(contract.READY, False, reason, message),
            condition(contract.STALLED, True, reason, message),
            condition(contract.FAILED, True, reason, message),
        ]
    bad = failed(gates)
    if bad:
        message = f"not registered: {explain(bad)}"
        return "GateFailed", [
            condition(contract.READY, False, "GateFailed", message),
            condition(contract.STALLED, True, "GateFailed", message),
            condition(contract.COMPLETE, True, "GateFailed", message),
        ]
    if registers and version is None:
        message = "the report is here; its ModelVersion is being made"
        return "Registering", [
            condition(contract.READY, False, "Registering", message),
            condition(contract.RECONCILING, True, "Registering", message),
        ]
    reason = "Registered" if version else "Complete"
    message = f"{version} is registered" if version else "the trial is complete"
    if not eligible(gates):
        unclear = [gate for gate in gates if gate.verdict == contract.INCONCLUSIVE]
        message += f", not eligible for a rollout: {explain(unclear)}"
    return "Succeeded", [
        condition(contract.READY, True, reason, message),
        condition(contract.COMPLETE, True, reason, message),
    ]


def _word(stands: Standing) -> str:
    words = {"Running": "Running", "Succeeded": "Running", "Failed": "Failing"}
    return words.get(stands.state, "Starting")


def _reason(text: str) -> str:
    """A reason as conditions may have it: one word."""
    word = re.sub("[^A-Za-z0-9]", "", text)[:128]
    return word if word[:1].isalpha() else "Error"


def _status(
    raw: Object,
    run: TrainingRun,
    now: datetime,
    conditions: Sequence[Condition],
    *,
    phase: str,
    attempt: int = 0,
    started: str | None = None,
    report: Report | None = None,
    over: bool = False,
    champion: ChampionRef | None = None,
    metrics: dict[str, str] | None = None,
    gates: list[GateResult] | None = None,
    failure: StepFailure | None = None,
    version: str | None = None,
) -> dict[str, Any]:
    before = run.status
    end = before.completion_time or (report.finished_at if report else None)
    status = TrainingRunStatus(
        observed_generation=run.metadata.generation,
        phase=phase,
        attempt=attempt,
        job=job_name(run.metadata.name, attempt) if attempt else None,
        start_time=before.start_time or started,
        completion_time=(end or timestamp(now)) if over else None,
        champion=champion,
        metrics=metrics,
        gates=gates,
        failure=failure,
        model_version=version,
    ).to_dict()
    status["conditions"] = merge(
        raw.get("status", {}).get("conditions"), conditions, run.metadata.generation, now
    )
    return status
