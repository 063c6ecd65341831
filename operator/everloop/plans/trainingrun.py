"""What a TrainingRun does next: config, attempts, failure, report, version.

What is durable decides: the report, once there is one, says how the run ended; before it, the Jobs
do. Status is computed from them and may be lost at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from everloop import contract
from everloop.api.conditions import is_true, timestamp
from everloop.api.report import Report, from_config_map
from everloop.api.trainingrun import TrainingRun
from everloop.errors import InvalidSpec
from everloop.manifests.network import build_runs_policy
from everloop.manifests.trainingrun import (
    build_config,
    build_report,
    champion_gates,
)
from everloop.manifests.trainingrun_job import build_job, container_names
from everloop.plans.gates import failed
from everloop.plans.plan import Child, Deletion, Manifest, Mode, OnConflict, Patch, Plan
from everloop.plans.registration import (
    Registration,
    Versions,
    judged,
    parse_run_config,
    registration,
)
from everloop.plans.trainingrun_attempt import (
    Attempt,
    Standing,
    images,
    lingers,
    overdue,
    resolution,
    standing,
    start_deadline,
)
from everloop.plans.trainingrun_status import (
    finished_status,
    progress_status,
    transition_events,
)
from everloop.settings import Settings

Object = Mapping[str, Any]

LOOK_AGAIN = timedelta(seconds=5)  # at warnings, while an attempt waits for its start
PATIENCE = 4  # an attempt that waits long is looked at when it has waited a quarter longer
REPORT_GRACE = timedelta(seconds=60)  # between a Job's completion and its report being seen
ENDED_DEADLINE = 1  # activeDeadlineSeconds that ends a Job which waits for something


@dataclass(frozen=True)
class Observed:
    """A TrainingRun and everything its plan depends on; objects as read.

    `attempts` are all known ones in order, deleted ones included. `champion` is what the config
    would name, read only before there is a config.
    """

    run: Object
    settings: Settings
    report_ca: str
    attempts: tuple[Attempt, ...] = ()
    run_config: Object | None = None
    report: Object | None = None
    champion: dict[str, Any] | None = None
    champion_problem: str = ""
    versions: Versions = field(default_factory=Versions)
    network_policy: Object | None = None  # of the namespace's runs


def plan(observed: Observed, now: datetime) -> Plan:
    """Decide for a run."""
    run = TrainingRun.model_validate(observed.run)
    report = from_config_map(observed.report)
    if report is not None:
        return _finished(observed, run, report, now)
    if is_over(observed.run):
        return Plan()  # somebody deleted its report; a finished run does not run again
    check(run)
    return _with_policy(observed, _under_way(observed, run, now))


def is_over(run: Object) -> bool:
    """Whether status says that the run has ended."""
    status = run.get("status")
    return is_true(status, contract.COMPLETE) or is_true(status, contract.FAILED)


def _with_policy(observed: Observed, plan: Plan) -> Plan:
    """The NetworkPolicy of the namespace's runs, before any pod; one that is somebody's stays."""
    namespace = observed.run["metadata"]["namespace"]
    if not observed.attempts and not any(item.manifest["kind"] == "Job" for item in plan.children):
        return plan
    if observed.settings.network_policies:
        policy = Child(build_runs_policy(namespace), owned=False, on_conflict=OnConflict.EXISTS)
        return replace(plan, children=(policy, *plan.children))
    found = observed.network_policy
    return replace(plan, deletions=(Deletion.of(found),)) if found else plan


def check(run: TrainingRun) -> None:
    """Raises InvalidSpec for what the schema could not reject."""
    deployments = sorted({gate.deployment or "" for gate in champion_gates(run)})
    if len(deployments) > 1:
        raise InvalidSpec(
            f"gates compare with the champions of {' and '.join(deployments)}: "
            "a run can score one champion only, name one deployment"
        )
    names = container_names(run, compares=True)
    for step in run.spec.steps:
        if names.count(step.name) > 1:
            raise InvalidSpec(
                f"steps: the name {step.name} is taken by a container of ours, rename the step"
            )


def _under_way(observed: Observed, run: TrainingRun, now: datetime) -> Plan:
    """A run with no report yet."""
    last = observed.attempts[-1] if observed.attempts else None
    if last is not None and observed.run_config is not None:
        return _attempted(observed, run, last, now)
    if last is not None:  # the config is deleted, or too new for the cache: to make it shows which
        actions = Plan(children=(_config(observed, run),), passing=True)
        return _progress(observed, run, standing(last), now, actions)
    children = () if run.spec.suspend else _first(observed, run)
    actions = Plan(children=children, passing=True)
    return _progress(observed, run, Standing("Starting"), now, actions)


def _first(observed: Observed, run: TrainingRun) -> tuple[Child, ...]:
    """The first attempt's Job, after the config that it reads."""
    if observed.run_config is not None:
        return (_next_job(observed, run),)
    config = _config(observed, run)
    job = _next_job(replace(observed, run_config=config.manifest), run)
    return (config, replace(job, after=True))


def _config(observed: Observed, run: TrainingRun) -> Child:
    manifest = build_config(
        observed.settings,
        run,
        observed.champion,
        observed.champion_problem,
        observed.report_ca,
    )
    return Child(manifest, Mode.CREATE_ONCE)


def _attempted(observed: Observed, run: TrainingRun, last: Attempt, now: datetime) -> Plan:
    stands = with_deadlines(standing(last), run, now)
    if stands.state == "Failed":
        return _failed(observed, run, last, stands, now)
    patches = [*_suspend_patch(run, last), *_resolution_patch(run, last)]
    requeue = None
    if stands.state == "Starting" and not run.spec.suspend:
        deadline = start_deadline(stands, run.spec.start_deadline_seconds)
        waited = now - stands.since if stands.since else timedelta(0)
        look = now + max(LOOK_AGAIN, waited / PATIENCE)
        requeue = min(look, deadline) if deadline else look
    if stands.state == "Succeeded":
        requeue = (stands.since or now) + REPORT_GRACE
    return _progress(observed, run, stands, now, Plan(patches=tuple(patches), requeue_at=requeue))


def with_deadlines(stands: Standing, run: TrainingRun, now: datetime) -> Standing:
    """A start that takes too long, and a Job that completed without a report, are failures."""
    if run.spec.suspend and stands.state == "Starting":
        return stands
    seconds = run.spec.start_deadline_seconds
    if overdue(stands, seconds, now):
        what = f"step {stands.step}" if stands.step else "the pod"
        return Standing(
            "Failed",
            stands.step,
            stands.reason or "StartDeadlineExceeded",
            f"{what} did not start within {seconds} s (startDeadlineSeconds)"
            + (f": {stands.message}" if stands.message else ""),
        )
    if stands.state == "Succeeded" and stands.since and now >= stands.since + REPORT_GRACE:
        message = "the attempt's Job completed, but its report never came"
        return Standing("Failed", contract.CONTAINER_PACKAGE, "ReportMissing", message)
    return stands


def _failed(
    observed: Observed, run: TrainingRun, last: Attempt, stands: Standing, now: datetime
) -> Plan:
    """The last attempt failed: make the next one, or else the report that ends the run.

    The pods are ended only in the pass that sees the report, so that it is recorded first.
    """
    if last.number <= run.spec.retries:
        children = () if run.spec.suspend else (_next_job(observed, run),)
        actions = Plan(children=children, patches=_end_patch(last))
        return _progress(observed, run, stands, now, actions, retrying=True)
    text = json.dumps(failure_report(run, last, stands, now), indent=1)
    child = Child(build_report(run, text, images(last.pod)), Mode.CREATE_ONCE)
    return _progress(observed, run, stands, now, Plan(children=(child,)))


def failure_report(
    run: TrainingRun, last: Attempt, stands: Standing, now: datetime
) -> dict[str, Any]:
    """What remains of a run whose runner could not report: where and why it ended."""
    created = (last.job or {}).get("metadata", {}).get("creationTimestamp")
    return {
        "schema": contract.REPORT_SCHEMA,
        "namespace": run.metadata.namespace,
        "run": run.metadata.name,
        "uid": run.metadata.uid,
        "attempt": last.number,
        "outcome": "Failed",
        "failure": {
            "step": stands.step,
            "reason": stands.reason,
            "message": stands.message,
        },
        "startedAt": run.status.start_time or created,
        "finishedAt": timestamp(now),
    }


def _finished(observed: Observed, run: TrainingRun, report: Report, now: datetime) -> Plan:
    """A run with a report: gates, version, status."""
    before = observed.run.get("status")
    if not report.succeeded:
        status = finished_status(observed.run, run, report, now)
        patches = _end_patch(observed.attempts[-1]) if observed.attempts else ()
        return Plan(patches=patches, status=status, events=transition_events(before, status))
    results, champion = judged(run, report, observed.run_config)
    step = Registration()
    if observed.report is not None and not failed(results):
        step = registration(observed.run, observed.report, observed.run_config, observed.versions)
    trial = is_trial(observed.run)

    def status_with(version: str | None) -> dict[str, Any]:
        return finished_status(
            observed.run,
            run,
            report,
            now,
            gates=results,
            champion=champion.ref,
            version=version,
            registers=not trial,
        )

    children = () if trial else step.children
    made = next((child.manifest["metadata"]["name"] for child in children), step.version)
    status = status_with(made)
    return Plan(
        children=children,
        patches=step.patches,
        status=status,
        unmade=status_with(None) if children else None,
        events=transition_events(before, status),
    )


def is_trial(run: Object) -> bool:
    """Whether an Experiment made the run, and decides what is registered."""
    return any(
        owner.get("controller") and owner.get("kind") == "Experiment"
        for owner in run["metadata"].get("ownerReferences", [])
    )


def _progress(
    observed: Observed,
    run: TrainingRun,
    stands: Standing,
    now: datetime,
    actions: Plan,
    *,
    retrying: bool = False,
) -> Plan:
    """A plan with the status of a run that is not over."""
    jobs = [attempt.job for attempt in observed.attempts if attempt.job is not None]
    status = progress_status(
        observed.run,
        run,
        stands,
        now,
        attempt=observed.attempts[-1].number if observed.attempts else 0,
        started=jobs[0]["metadata"]["creationTimestamp"] if jobs else None,
        champion=parse_run_config(observed.run_config).get("champion"),
        retrying=retrying,
    )
    events = transition_events(observed.run.get("status"), status)
    return replace(actions, status=status, events=events)


def _next_job(observed: Observed, run: TrainingRun) -> Child:
    number = observed.attempts[-1].number + 1 if observed.attempts else 1
    compares = bool(parse_run_config(observed.run_config).get("champion"))
    resolved = (
        _resolution(attempt) for attempt in observed.attempts if _resolution(attempt) is not None
    )
    job = build_job(
        observed.settings, run, number, compares=compares, resolution=next(resolved, None)
    )
    return Child(job, Mode.CREATE_ONCE)


def _resolution(attempt: Attempt) -> str | None:
    """What an attempt fetched: noted on its Job, or else still in its pod."""
    annotations = (attempt.job or {}).get("metadata", {}).get("annotations") or {}
    return annotations.get(contract.ANNOTATION_RESOLUTION) or resolution(attempt.pod)


def _suspend_patch(run: TrainingRun, last: Attempt) -> tuple[Patch, ...]:
    job = last.job
    if job is None or bool(job["spec"].get("suspend")) == run.spec.suspend:
        return ()
    return (_job_patch(job, {"spec": {"suspend": run.spec.suspend}}),)


def _resolution_patch(run: TrainingRun, last: Attempt) -> tuple[Patch, ...]:
    """Where there may be a retry, what was fetched is noted on the Job, which outlives the pod."""
    job = last.job
    if job is None or last.number > run.spec.retries:
        return ()
    annotations = job["metadata"].get("annotations") or {}
    found = resolution(last.pod)
    if found is None or contract.ANNOTATION_RESOLUTION in annotations:
        return ()
    return (_job_patch(job, {}, {contract.ANNOTATION_RESOLUTION: found}),)


def _end_patch(last: Attempt) -> tuple[Patch, ...]:
    """Ends a Job that would wait on, with its pods."""
    job = last.job
    if job is None or not lingers(last):
        return ()
    if job["spec"].get("activeDeadlineSeconds") == ENDED_DEADLINE:
        return ()
    return (_job_patch(job, {"spec": {"activeDeadlineSeconds": ENDED_DEADLINE}}),)


def _job_patch(job: Object, fields: Manifest, annotations: dict[str, str] | None = None) -> Patch:
    source = job["metadata"]
    metadata: Manifest = {key: source[key] for key in ("name", "namespace", "uid")}
    if annotations:
        metadata["annotations"] = annotations
    return Patch({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, **fields})
