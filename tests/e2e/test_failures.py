"""A TrainingRun that goes wrong says where, why and with which last words, within ten seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from e2e import Kube, Object, condition, is_true, until
from tests.e2e.small_runs import BUCKET, TRAIN, make_run, python

PROMPT = 10.0  # seconds between a failure and the condition that names it
RUNS = {  # name: (step, reason, what the message must contain)
    "crash": ("train", "Error", "the disk is on fire"),
    "oom": ("train", "OOMKilled", "resources.limits.memory"),
    "no-image": ("train", "ImagePullBackOff", "nothing/here:1"),
    "refused": ("", "PodRejected", "runAsNonRoot"),
    "host-path": ("", "PodRejected", "hostPath"),
    "no-data": ("everloop-fetch", "DataMissing", f"s3://{BUCKET}/nothing/"),
    "no-model": ("everloop-package", "NoModel", "model"),
}
NEVER_START = ("no-image", "refused", "host-path")  # they wait, until startDeadlineSeconds


def manifests(namespace: str, registry: str) -> list[Object]:
    """One run for each failure."""
    return [
        make_run(
            "crash",
            namespace,
            python("print('reading')", "raise SystemExit('the disk is on fire')"),
        ),
        make_run(
            "oom",
            namespace,
            python("print('filling', flush=True)", "filled = b'x' * (512 << 20)"),
            step={"resources": {"limits": {"memory": "64Mi"}}},
        ),
        make_run(
            "no-image",
            namespace,
            ["true"],
            step={"image": f"{registry}/nothing/here:1"},
            startDeadlineSeconds=25,
        ),
        make_run(
            "refused",
            namespace,
            ["true"],
            pod={"securityContext": {"runAsUser": 0, "runAsNonRoot": False}},
            startDeadlineSeconds=25,
        ),
        make_run(
            "host-path",
            namespace,
            ["true"],
            pod={"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
            startDeadlineSeconds=25,
        ),
        make_run(
            "no-data",
            namespace,
            ["true"],
            data=[{"name": "days", "uri": f"s3://{BUCKET}/nothing/"}],
        ),
        make_run("no-model", namespace, python("print('all is well')")),
    ]


@dataclass
class Seen:
    """What one run said while it was watched."""

    reasons: dict[str, datetime] = field(default_factory=dict)  # of Ready, when first seen
    last: Object = field(default_factory=dict)
    at_reason: dict[str, Object] = field(default_factory=dict)


@pytest.fixture(scope="module")
def seen(kube: Kube, namespace: str, registry: str) -> dict[str, Seen]:
    """All runs at once, watched until each has ended."""
    found = {name: Seen() for name in RUNS}
    kube.apply(*manifests(namespace, registry))

    def look() -> bool:
        for run in kube.list("mltr", namespace):
            if (one := found.get(run["metadata"]["name"])) is not None:
                one.last = run
                if reason := condition(run, "Ready").get("reason"):
                    one.reasons.setdefault(reason, datetime.now(UTC))
                    one.at_reason[reason] = run
        return all(is_true(one.last, "Failed") for one in found.values())

    deadline = time.monotonic() + 150
    while not look() and time.monotonic() < deadline:
        time.sleep(0.3)
    return found


@pytest.mark.parametrize("name", RUNS)
def test_condition_names_step_reason_and_last_lines(name: str, seen: dict[str, Seen]) -> None:
    step, reason, said = RUNS[name]
    run = seen[name].last
    assert is_true(run, "Failed"), f"{name} has not failed: {run.get('status')}"
    assert is_true(run, "Stalled")
    failed = condition(run, "Failed")
    assert failed["reason"] == reason, failed
    assert said in failed["message"], failed
    failure = run["status"]["failure"]
    assert failure["reason"] == reason
    assert failure["step"] == step or not step
    assert not run["status"].get("modelVersion")


@pytest.mark.parametrize("name", RUNS)
def test_condition_comes_within_ten_seconds(
    name: str, seen: dict[str, Seen], kube: Kube, namespace: str
) -> None:
    reason = RUNS[name][1]
    assert reason in seen[name].reasons, f"{name} never said {reason}: {seen[name].reasons}"
    failed = _failed_at(kube, namespace, name)
    late = (seen[name].reasons[reason] - failed).total_seconds()
    assert late <= PROMPT, f"{name} failed at {failed}, said so {late:.1f} s later"


@pytest.mark.parametrize("name", NEVER_START)
def test_run_that_never_starts_says_why_before_it_is_given_up(
    name: str, seen: dict[str, Seen]
) -> None:
    reason = RUNS[name][1]
    early = seen[name].at_reason
    assert reason in early, f"{name}: {list(early)}"
    given_up = datetime.fromisoformat(condition(seen[name].last, "Failed")["lastTransitionTime"])
    assert seen[name].reasons[reason] < given_up


def test_failed_runs_keep_their_report(kube: Kube, namespace: str, seen: dict[str, Seen]) -> None:
    for name in RUNS:
        report = kube.get("configmap", f"{name}-report", namespace)
        assert '"Failed"' in report.get("data", {}).get("report.json", ""), name


def test_report_waits_for_an_operator_that_is_down(kube: Kube, namespace: str) -> None:
    train = python("import time", "time.sleep(12)  # long enough to lose the operator", TRAIN)
    kube.apply(make_run("patient", namespace, train))
    replicas = _operator(kube)["spec"]["replicas"]
    until(
        "the step runs",
        lambda: _state(kube, namespace, "patient", "train").get("running"),
        90,
    )
    try:
        _scale(kube, 0)
        package = "everloop-package"
        started = until(
            "packaging begins without an operator",
            lambda: _state(kube, namespace, "patient", package).get("running"),
            90,
        )["startedAt"]
        until(
            "the report has been refused for a while",
            lambda: (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds() > 15,
            60,
        )
        assert _state(kube, namespace, "patient", package).get("running"), "it gave up"
        assert not kube.get("configmap", "patient-report", namespace)
    finally:
        _scale(kube, replicas)
    run = until(
        "the run is registered once the operator is back",
        lambda: (
            found
            if is_true(found := kube.get("mltr", "patient", namespace), "Complete")
            and found["status"].get("modelVersion")
            else None
        ),
        120,
    )
    assert run["status"]["modelVersion"] == "patient-v1"
    assert run["status"]["attempt"] == 1
    versions = [one["metadata"]["name"] for one in kube.list("mlmv", namespace)]
    assert [one for one in versions if one.startswith("patient-")] == ["patient-v1"]


def _failed_at(kube: Kube, namespace: str, run: str) -> datetime:
    """When the failure happened, by the kubelet or by the event that tells of it."""
    for pod in kube.list("pods", namespace, f"everloop.dev/training-run={run}"):
        status = pod["status"]
        for one in [*status.get("initContainerStatuses", []), *status["containerStatuses"]]:
            ended = one["state"].get("terminated") or {}
            if ended.get("exitCode"):
                return datetime.fromisoformat(ended["finishedAt"])
    words = ("FailedCreate", "Failed")
    events = [
        event
        for event in kube.list("events", namespace)
        if event["involvedObject"]["name"].startswith(f"{run}-") and event["reason"] in words
    ]
    assert events, f"nothing in the cluster says that {run} failed"
    times = [event.get("eventTime") or event["firstTimestamp"] for event in events]
    return min(datetime.fromisoformat(one) for one in times)


def _state(kube: Kube, namespace: str, run: str, container: str) -> Object:
    for pod in kube.list("pods", namespace, f"everloop.dev/training-run={run}"):
        status = pod["status"]
        for one in [
            *status.get("initContainerStatuses", []),
            *status.get("containerStatuses", []),
        ]:
            if one["name"] == container:
                state: Object = one["state"]
                return state
    return {}


def _operator(kube: Kube) -> Object:
    return kube.get("deployments.apps", "everloop", "everloop-system")


def _scale(kube: Kube, replicas: int) -> None:
    kube.run(
        "-n", "everloop-system", "scale", "deployments.apps/everloop", f"--replicas={replicas}"
    )
    if replicas:
        kube.run(
            "-n", "everloop-system", "rollout", "status", "deployments.apps/everloop",
            "--timeout=120s",
        )  # fmt: skip
    else:
        until(
            "the operator is gone",
            lambda: not kube.list("pods", "everloop-system", "app.kubernetes.io/name=everloop"),
            60,
        )
