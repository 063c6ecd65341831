"""How an attempt of a TrainingRun stands: one Job and its pod, read into one word and a reason.

A Job says little: with a missing image, a refused pod or an exhausted quota it stays active with no
condition. So the pod's containers are read first, then the pod, then events, then the Job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from everloop import contract
from everloop.api.json_text import read_object

Object = Mapping[str, Any]

State = Literal["Suspended", "Starting", "Running", "Succeeded", "Failed"]

# A waiting container with one of these is on its way.
ON_ITS_WAY = ("", "ContainerCreating", "PodInitializing")
SOON = timedelta(seconds=3)  # most pods have begun by then, and nobody has to ask
LATE = timedelta(seconds=8)  # a Job that its controller has not begun with
# What these events say, the waiting container says better.
OF_CONTAINERS = ("Failed", "BackOff", "InspectFailed")
POD_DELETED = "PodDeleted"
# These can't get better, however long one waits.
HOPELESS = ("InvalidImageName",)
# The kubelet alternates between these two: one reason, so that status does not flap.
SAME_REASON = {"ErrImagePull": "ImagePullBackOff"}
ADVICE = {
    "ImagePullBackOff": "push the image, or name one that exists in a new TrainingRun; for a "
    "private registry set pod.imagePullSecrets",
    "ErrImageNeverPull": "the image is not on the node and its pull policy forbids to fetch it",
    "InvalidImageName": "write an image as registry/name:tag in a new TrainingRun",
    "CreateContainerConfigError": "create the Secret or ConfigMap that the step refers to",
    "FailedMount": "create the volume's Secret, ConfigMap or claim",
    "Unschedulable": "no node fits: lower resources.requests, or change nodeSelector, affinity or "
    "tolerations in a new TrainingRun",
    "QuotaExceeded": "free or raise the namespace's ResourceQuota, and state resources if it asks",
    "PodRejected": "change what the policy names, the pod: block or the steps, in a new run",
    "OOMKilled": "raise resources.limits.memory of the step in a new TrainingRun",
    "Evicted": "the node needed what the pod used: state resources.requests, or use retries",
    "DeadlineExceeded": "raise activeDeadlineSeconds in a new TrainingRun if it needs the time",
    "JobDeleted": "set suspend: true to stop a run; with retries it is tried again",
}


@dataclass(frozen=True)
class Attempt:
    """An attempt as observed. `job` is None if it was deleted; events are warnings, by time."""

    number: int
    job: Object | None
    pod: Object | None = None
    job_events: Sequence[Object] = ()
    pod_events: Sequence[Object] = ()


@dataclass(frozen=True)
class Standing:
    """How an attempt stands. `step` is the container it is about; `since` when it began to wait."""

    state: State
    step: str = ""
    reason: str = ""
    message: str = ""
    since: datetime | None = None


def standing(attempt: Attempt) -> Standing:
    """Read an attempt."""
    job, pod = attempt.job, attempt.pod
    if job is None or job["metadata"].get("deletionTimestamp"):
        step = _current(pod)
        where = f" while step {step} was running" if step else ""
        return _failed(step, "JobDeleted", f"the attempt's Job was deleted{where}")
    ended = _ended(job)
    if ended:
        return _pod_failure(pod, job) or _job_failure(job, pod, ended)
    if _condition(job, "Complete") or _condition(job, "SuccessCriteriaMet"):
        completed = _time(job.get("status", {}).get("completionTime"))
        return Standing("Succeeded", since=completed)
    if job["spec"].get("suspend"):
        return Standing("Suspended")
    if pod is None or pod["metadata"].get("deletionTimestamp"):
        return _no_pod(attempt, job)
    return _pod_failure(pod, job) or _pod_progress(attempt, pod)


def wants_warnings(attempt: Attempt, now: datetime) -> bool:
    """Whether an attempt waits, and neither its pod nor its Job says what for."""
    stands = standing(attempt)
    if stands.state != "Starting" or stands.reason or stands.since is None:
        return False
    waited = now - stands.since
    if attempt.pod is not None:
        return waited >= SOON
    status = (attempt.job or {}).get("status", {})
    refused = bool(status.get("startTime")) and not status.get("active")
    return refused or waited >= LATE  # until the Job's controller has come to it, nobody knows more


def lingers(attempt: Attempt) -> bool:
    """Whether the Job would wait on although its attempt has failed: nothing in it has ended."""
    job = attempt.job
    if job is None or job["metadata"].get("deletionTimestamp") or _ended(job):
        return False
    return _pod_failure(attempt.pod, job) is None


def resolution(pod: Object | None) -> str | None:
    """What fetch resolved (JSON), once it has succeeded."""
    for status in _statuses(pod)[:1]:
        ended = status.get("state", {}).get("terminated")
        if ended and ended.get("exitCode") == 0 and ended.get("message"):
            return str(ended["message"])
    return None


def images(pod: Object | None) -> dict[str, str]:
    """Container → image by digest, of the containers that have run or are running."""
    return {
        status["name"]: status["imageID"].removeprefix("docker-pullable://")
        for status in _statuses(pod)
        if status.get("imageID")
    }


def _failed(step: str, reason: str, message: str) -> Standing:
    advice = ADVICE.get(reason)
    return Standing("Failed", step, reason, f"{message}; {advice}" if advice else message)


def _pod_failure(pod: Object | None, job: Object) -> Standing | None:
    """The first container that failed; else what ended the pod as a whole."""
    status = (pod or {}).get("status", {})
    whole = str(status.get("reason") or "")
    if whole and status.get("phase") == "Failed" and whole != "DeadlineExceeded":
        step = _current(pod)
        text = status.get("message") or f"the pod was ended: {whole}"
        return _failed(step, whole, _about(step, text))
    for container in _statuses(pod):
        ended = container.get("state", {}).get("terminated")
        if ended and ended.get("exitCode") != 0:
            return _container_failure(job, container["name"], ended)
    return None


def _container_failure(job: Object, step: str, ended: Mapping[str, Any]) -> Standing:
    said = _said(ended.get("message") or "")
    code = ended.get("exitCode")
    reason = str(ended.get("reason") or "Error")
    if reason in ("Error", "") and said.get("reason"):
        reason = str(said["reason"])
    if reason == "OOMKilled":
        limit = _memory_limit(job, step)
        message = "used more memory than " + (f"its limit of {limit}" if limit else "it may")
    elif said.get("signal") or code in (137, 143):
        message = f"was killed (exit code {code})"
    else:
        message = f"exited with code {code}"
    lines = str(said.get("lastLines") or "").strip()
    if step in (contract.CONTAINER_FETCH, contract.CONTAINER_PACKAGE) and "reason" in said:
        return Standing("Failed", step, reason, f"step {step}: {lines}")  # ours explain themselves
    standing = _failed(step, reason, f"step {step} {message}")
    if not lines:
        return standing
    return Standing("Failed", step, reason, f"{standing.message}; last lines:\n{lines}")


def _said(message: str) -> dict[str, Any]:
    """The termination message: our JSON, or else the log's end that the kubelet took instead."""
    said = read_object(message)
    if said is not None:
        return said
    return {"lastLines": "\n".join(message.strip().splitlines()[-20:])}


def _job_failure(job: Object, pod: Object | None, ended: Mapping[str, Any]) -> Standing:
    reason = str(ended.get("reason") or "Failed")
    step = _current(pod)
    if reason == "DeadlineExceeded":
        limit = job["spec"].get("activeDeadlineSeconds")
        return _failed(step, reason, _about(step, f"the attempt took longer than {limit} s"))
    if reason == "BackoffLimitExceeded":
        return _failed(step, POD_DELETED, _about(step, "the attempt's pod was deleted"))
    return _failed(step, reason, _about(step, str(ended.get("message") or reason)))


def _ended(job: Object) -> Mapping[str, Any] | None:
    """The condition by which the Job failed; FailureTarget comes while its pod is still there."""
    return _condition(job, "Failed") or _condition(job, "FailureTarget")


def _no_pod(attempt: Attempt, job: Object) -> Standing:
    """The Job has no pod yet: its events say why, if anything does."""
    since = _time(job.get("status", {}).get("startTime") or job["metadata"]["creationTimestamp"])
    for event in reversed(attempt.job_events):
        if event.get("reason") != "FailedCreate":
            continue
        text = str(event.get("message") or "")
        if "exceeded quota" in text or "failed quota" in text:
            reason = "QuotaExceeded"
        elif any(word in text for word in ("violates PodSecurity", "admission webhook", "denied")):
            reason = "PodRejected"
        else:
            reason = "FailedCreate"
        text = re.sub(r'^Error creating: (pods "[^"]*" is )?', "", text)
        return _starting("", reason, f"the pod was refused: {text}", since)
    if attempt.pod is not None or job.get("status", {}).get("active"):
        return Standing("Starting")  # its pod has just come or goes: the Job will tell
    return Standing("Starting", since=since)


def _pod_progress(attempt: Attempt, pod: Object) -> Standing:
    since = _time(pod["metadata"]["creationTimestamp"])
    scheduled = _condition(pod, "PodScheduled", "False")
    if scheduled:
        reason = str(scheduled.get("reason") or "Unschedulable")
        return _starting("", reason, str(scheduled.get("message") or ""), since)
    for container in _statuses(pod):
        name, state = container["name"], container.get("state", {})
        if state.get("running"):
            return Standing("Running", name, "Running", f"step {name} is running")
        if state.get("terminated"):
            since = _time(state["terminated"].get("finishedAt")) or since
            continue
        waiting = state.get("waiting", {})
        return _waiting(attempt, name, waiting, since)
    if _statuses(pod) and all(item.get("state", {}).get("terminated") for item in _statuses(pod)):
        return Standing("Running", reason="Running", message="all steps have ended")
    return Standing("Starting", since=since)


def _waiting(
    attempt: Attempt, step: str, waiting: Mapping[str, Any], since: datetime | None
) -> Standing:
    reason = str(waiting.get("reason") or "")
    if reason in ON_ITS_WAY:
        warnings = [
            event for event in attempt.pod_events if event.get("reason") not in OF_CONTAINERS
        ]
        if warnings:
            last = warnings[-1]
            return _starting(step, str(last.get("reason")), str(last.get("message")), since)
        return Standing("Starting", step, since=since)
    reason = SAME_REASON.get(reason, reason)
    text = str(waiting.get("message") or reason)
    text = re.sub(r'^Back-off pulling image "[^"]*": (ErrImagePull: )?', "", text)
    text = re.sub(r"^rpc error: code = \w+ desc = ", "", text)
    if reason in HOPELESS:
        return _failed(step, reason, _about(step, text))
    return _starting(step, reason, text, since)


def _starting(step: str, reason: str, text: str, since: datetime | None) -> Standing:
    advice = ADVICE.get(reason)
    message = _about(step, text.strip())
    return Standing("Starting", step, reason, f"{message}; {advice}" if advice else message, since)


def _about(step: str, text: str) -> str:
    return f"step {step}: {text}" if step else text


def _statuses(pod: Object | None) -> list[Mapping[str, Any]]:
    """Container statuses in the order the containers run (the API keeps the spec's order)."""
    status = (pod or {}).get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _current(pod: Object | None) -> str:
    """The container that runs, or else the last that has."""
    name = ""
    for container in _statuses(pod):
        state = container.get("state", {})
        if state.get("running") or state.get("terminated"):
            name = container["name"]
    return name


def _memory_limit(job: Object, step: str) -> str | None:
    spec = job["spec"].get("template", {}).get("spec", {})
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        if container["name"] == step:
            limit = (container.get("resources", {}).get("limits") or {}).get("memory")
            return str(limit) if limit else None
    return None


def _condition(owner: Object, name: str, status: str = "True") -> Mapping[str, Any] | None:
    for entry in owner.get("status", {}).get("conditions", []):
        if entry["type"] == name and entry["status"] == status:
            return dict(entry)
    return None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def overdue(stands: Standing, start_seconds: float, now: datetime) -> bool:
    """Whether it has waited for its start for longer than it may."""
    deadline = start_deadline(stands, start_seconds)
    return stands.state == "Starting" and deadline is not None and now >= deadline


def start_deadline(standing: Standing, seconds: float) -> datetime | None:
    """When waiting for the next container ends."""
    return standing.since + timedelta(seconds=seconds) if standing.since else None
