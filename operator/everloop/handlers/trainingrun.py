"""TrainingRun: what it observes. What it does is plans/trainingrun.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from everloop import contract
from everloop.api.modelversion import ModelVersion
from everloop.api.trainingrun import TrainingRun
from everloop.handlers.kind import Kind, Object, Ref, View
from everloop.handlers.owned import own
from everloop.handlers.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    JOBS,
    MODEL_VERSIONS,
    NETWORK_POLICIES,
    PODS,
    TRAINING_RUNS,
)
from everloop.handlers.version_reads import read_versions
from everloop.manifests.network import RUNS
from everloop.manifests.trainingrun import build_champion, config_name, report_name
from everloop.manifests.trainingrun_job import job_name
from everloop.plans.trainingrun import Observed, is_over, plan, with_deadlines
from everloop.plans.trainingrun_attempt import POD_DELETED, Attempt, standing, wants_warnings

LABEL_JOB = "batch.kubernetes.io/job-name"  # of a Job's pods, by its controller


def references(run: Object) -> Iterable[Ref]:
    """The Deployments whose champions its gates mean; its ModelVersion wakes it by a label."""
    namespace = run["metadata"]["namespace"]
    for name in _champion_deployments(run):
        yield Ref("Deployment", namespace, name=name)
    if not is_over(run):
        yield Ref(NETWORK_POLICIES.kind, namespace, name=RUNS)


async def observe(run: Object, view: View, outside: Any) -> Observed:
    """The run's ConfigMaps, attempts and, before the first attempt, the champion."""
    namespace, name = run["metadata"]["namespace"], run["metadata"]["name"]

    def seen(config_map: str) -> Object | None:
        return own(run, view.get("ConfigMap", namespace, config_map))

    champion, problem = None, ""
    if seen(config_name(name)) is None:
        champion, problem = await _champion(run, view, outside)
    ended = seen(report_name(name)) is not None
    attempts, unseen = await _attempts(run, view, outside, ended=ended)
    # After the attempts: what one has reported is not overlooked because meanwhile it has ended.
    report = seen(report_name(name)) or unseen
    return Observed(
        run=run,
        settings=outside.settings,
        report_ca=outside.report_ca(),
        attempts=attempts,
        run_config=seen(config_name(name)),
        report=report,
        champion=champion,
        champion_problem=problem,
        versions=await read_versions(run, report, view, outside),
        network_policy=view.get(NETWORK_POLICIES.kind, namespace, RUNS),
    )


async def _attempts(
    run: Object, view: View, outside: Any, *, ended: bool
) -> tuple[tuple[Attempt, ...], Object | None]:
    """All attempts that were ever made, in order; and a report that the cache does not have yet.

    An attempt that status knows and the cache does not was deleted, or is too new: a live read
    tells. Warnings are read only while the last one waits for its start.
    """
    jobs = {job["metadata"]["name"]: job for job in view.children("Job", run)}
    name = run["metadata"]["name"]
    made = int((run.get("status") or {}).get("attempt") or 0)
    most = 1 + int(run["spec"].get("retries") or 0)
    known = max(
        [number for number in range(1, most + 1) if job_name(name, number) in jobs] + [made]
    )
    attempts = []
    for number in range(1, known + 1):
        job = jobs.get(job_name(name, number))
        if job is None and number == known and not ended:
            job = await _live_job(run, outside, job_name(name, number))
        attempts.append(Attempt(number, job, _pod(view, job)))
    report = None
    if attempts and not ended:
        last, report = await _looked_at(run, attempts[-1], outside)
        attempts[-1] = await _with_events(run, last, outside)
    return tuple(attempts), report


async def _live_job(run: Object, outside: Any, name: str) -> Object | None:
    namespace = run["metadata"]["namespace"]
    return own(run, await outside.kube.get("batch/v1", "Job", namespace, name))


async def _looked_at(run: Object, attempt: Attempt, outside: Any) -> tuple[Attempt, Object | None]:
    """Before an attempt fails, its pod as it is now; before it is tried again, the run's report.

    Kinds are watched apart: a Job may be seen to fail before its pod is, or before the report that
    the pod sent, and a pod that is not seen to begin may have begun.
    """
    stands = standing(attempt)
    if stands.state in ("Running", "Suspended"):
        return attempt, None
    typed, now = TrainingRun.model_validate(run), datetime.now(UTC)
    if with_deadlines(stands, typed, now).state != "Failed":
        return attempt, None
    if attempt.job is not None and (stands.reason == POD_DELETED or stands.state == "Starting"):
        attempt = replace(attempt, pod=await _live_pod(attempt, outside))
        stands = standing(attempt)
    again = attempt.number <= typed.spec.retries
    if not again or with_deadlines(stands, typed, now).state != "Failed":
        return attempt, None
    meta = run["metadata"]
    report = await outside.kube.get("v1", "ConfigMap", meta["namespace"], report_name(meta["name"]))
    return attempt, own(run, report)


async def _live_pod(attempt: Attempt, outside: Any) -> Object | None:
    """The attempt's pod as it is now; as it was last seen if it is gone."""
    pod, job = attempt.pod, attempt.job
    if pod is None and job is not None:
        name = job["metadata"]["name"]
        pod = _newest(await outside.kube.children("v1", "Pod", job, f"{LABEL_JOB}={name}"))
    if pod is None:
        return None
    meta = pod["metadata"]
    live = await outside.kube.get("v1", "Pod", meta["namespace"], meta["name"])
    return live if live is not None and live["metadata"]["uid"] == meta["uid"] else pod


async def _with_events(run: Object, attempt: Attempt, outside: Any) -> Attempt:
    if attempt.job is None or not wants_warnings(attempt, datetime.now(UTC)):
        return attempt
    namespace = run["metadata"]["namespace"]
    if attempt.pod is None:
        events = await outside.kube.warnings(namespace, attempt.job["metadata"]["uid"])
        return Attempt(attempt.number, attempt.job, None, job_events=events)
    events = await outside.kube.warnings(namespace, attempt.pod["metadata"]["uid"])
    return Attempt(attempt.number, attempt.job, attempt.pod, pod_events=events)


def _pod(view: View, job: Object | None) -> Object | None:
    """The Job's pod, as it was a moment ago."""
    return None if job is None else _newest(view.children("Pod", job))


def _newest(pods: Iterable[Object]) -> Object | None:
    """After a suspension there are several: rather one that is not going away."""
    ordered = sorted(
        pods,
        key=lambda pod: (
            "deletionTimestamp" not in pod["metadata"],
            pod["metadata"]["creationTimestamp"],
        ),
    )
    return ordered[-1] if ordered else None


async def _champion(run: Object, view: View, outside: Any) -> tuple[dict[str, Any] | None, str]:
    """The champion to compare with, or why there is none although its Deployment has one."""
    namespace = run["metadata"]["namespace"]
    for name in _champion_deployments(run):
        deployment = view.get("Deployment", namespace, name)
        serving = ((deployment or {}).get("status") or {}).get("champion")
        if not serving:
            return None, ""
        version = view.get("ModelVersion", namespace, serving) or await outside.kube.get(
            contract.API_VERSION, "ModelVersion", namespace, serving
        )
        if version is None:
            return None, f"ModelVersion {serving}, champion of Deployment {name}, does not exist"
        return build_champion(name, ModelVersion.model_validate(version)), ""
    return None, ""


def _champion_deployments(run: Object) -> list[str]:
    gates: list[Mapping[str, Any]] = run["spec"].get("gates") or []
    return sorted({gate["deployment"] for gate in gates if gate.get("versus")})


KIND = Kind(
    resource=TRAINING_RUNS,
    children=(JOBS, PODS, CONFIG_MAPS, NETWORK_POLICIES),
    references=references,
    observe=observe,
    plan=plan,
    watched_for=(MODEL_VERSIONS, DEPLOYMENTS),
)
