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
from everloop.plans.trainingrun import Observed, is_over, plan
from everloop.plans.trainingrun_attempt import Attempt, rests_on_what_is_not_seen, wants_warnings

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
    run_config = own(run, view.get("ConfigMap", namespace, config_name(name)))
    report = own(run, view.get("ConfigMap", namespace, report_name(name)))
    champion, problem = None, ""
    if run_config is None:
        champion, problem = await _champion(run, view, outside)
    return Observed(
        run=run,
        settings=outside.settings,
        report_ca=outside.report_ca(),
        attempts=await _attempts(run, view, outside, ended=report is not None),
        run_config=run_config,
        report=report,
        champion=champion,
        champion_problem=problem,
        versions=read_versions(run, report, view),
        network_policy=view.get(NETWORK_POLICIES.kind, namespace, RUNS),
    )


async def _attempts(run: Object, view: View, outside: Any, *, ended: bool) -> tuple[Attempt, ...]:
    """All attempts that were ever made, in order.

    An attempt that status knows and the cache does not was deleted, or is too new: a live read
    tells, and so with the pod of a Job that failed. Warnings are read only while the last one waits
    for its start.
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
    if attempts and not ended:
        last = await _with_live_pod(run, attempts[-1], outside)
        attempts[-1] = await _with_events(run, last, outside)
    return tuple(attempts)


async def _live_job(run: Object, outside: Any, name: str) -> Object | None:
    namespace = run["metadata"]["namespace"]
    return own(run, await outside.kube.get("batch/v1", "Job", namespace, name))


async def _with_live_pod(run: Object, attempt: Attempt, outside: Any) -> Attempt:
    """Before an attempt fails for what was not seen of its pod, the pod is looked at.

    Pods and Jobs are watched apart: a Job may be seen to fail before its pod is, and where the
    watch of pods is behind, one that is not seen to begin may have begun.
    """
    seconds = TrainingRun.model_validate(run).spec.start_deadline_seconds
    now = datetime.now(UTC)
    if attempt.job is None or not rests_on_what_is_not_seen(attempt, seconds, now):
        return attempt
    name = attempt.job["metadata"]["name"]
    pods = await outside.kube.children("v1", "Pod", attempt.job, f"{LABEL_JOB}={name}")
    return replace(attempt, pod=_newest(pods) or attempt.pod)


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
