"""Our kinds on a real API server: what comes back, what stays deleted, who wakes whom."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from devcluster.control_plane_only import ControlPlane
from kube import Json, Kube, dns_label, ref
from live import children, condition, jobs, serving, status
from operator_process import OperatorProcess, Writes, eventually
from samples import (
    make_deployment,
    make_experiment,
    make_model_version,
    make_monitor,
    make_training_run,
)

from everloop import contract

Everloop = tuple[OperatorProcess, str]
APPLIED = {
    "ConfigMap": ("v1", "configmaps"),
    "Service": ("v1", "services"),
    "Deployment": ("apps/v1", "deployments"),
    "PrometheusRule": ("monitoring.coreos.com/v1", "prometheusrules"),
    "PodMonitor": ("monitoring.coreos.com/v1", "podmonitors"),
}


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name of the test's own, at most 31 characters."""
    digest = hashlib.sha256(request.node.name.encode()).hexdigest()[:6]
    return f"{dns_label(request.node.name)[:24].strip('-')}-{digest}"


def test_a_run_begins_with_three_writes(
    kube: Kube, plane: ControlPlane, everloop: Everloop, model: str
) -> None:
    """Its config, its Job, and one status that says both: moments in between are not written."""
    assert plane.audit_log is not None
    writes = Writes(Path(plane.audit_log))
    run = make_training_run(model, everloop[1], modelName=model)
    kube.create(run)
    eventually(lambda: status(kube, run).get("attempt") == 1, 10, "no attempt")
    everloop[0].wait_idle()
    own = [(verb, what) for verb, what, name in writes.seen() if name.startswith(model)]
    assert sorted(own) == [
        ("create", "configmaps"),
        ("create", "jobs"),
        ("patch", "trainingruns/status"),
    ]


def test_deleted_job_is_a_failed_attempt(kube: Kube, everloop: Everloop, model: str) -> None:
    """From the moment that status tells of it: before, nothing but the Job says it was made."""
    run = make_training_run(model, everloop[1], modelName=model, retries=1)
    kube.create(run)
    eventually(lambda: status(kube, run).get("attempt") == 1, 10, "no attempt")
    [first] = jobs(kube, run)
    assert first["metadata"]["labels"][contract.LABEL_ATTEMPT] == "1"
    kube.delete(ref("batch/v1", "Job", everloop[1], first["metadata"]["name"]))
    eventually(lambda: status(kube, run).get("attempt") == 2, 20, "no second attempt")
    [retried] = jobs(kube, run)
    assert retried["metadata"]["labels"][contract.LABEL_ATTEMPT] == "2"
    kube.delete(ref("batch/v1", "Job", everloop[1], retried["metadata"]["name"]))
    eventually(
        lambda: condition(kube, run, contract.FAILED).get("status") == "True", 20, "not failed"
    )
    everloop[0].wait_idle()
    assert jobs(kube, run) == []


def test_deleted_model_version_stays_deleted(kube: Kube, everloop: Everloop, model: str) -> None:
    """Also while a Deployment of that model wants versions."""
    version = make_model_version(model, 1, everloop[1])
    kube.create(version)
    kube.create(make_deployment(model, everloop[1], modelName=model))
    eventually(lambda: status(kube, version).get("observedGeneration") == 1, 10)
    kube.delete(version)
    kube.delete(make_deployment(model, everloop[1]))
    eventually(lambda: kube.get(version) is None, 20, "not deleted")
    everloop[0].wait_idle()
    assert kube.get(version) is None


@pytest.mark.parametrize("kind", ["Service", "Deployment", "ConfigMap"])
def test_deleted_serving_child_comes_back(
    kube: Kube, everloop: Everloop, model: str, kind: str
) -> None:
    deployment = serving(kube, model, everloop[1])
    everloop[0].wait_idle()
    api_version, plural = APPLIED[kind]
    before = {item["metadata"]["name"] for item in children(kube, deployment, api_version, plural)}
    assert before
    for name in before:
        kube.delete(ref(api_version, kind, everloop[1], name))

    def back() -> bool:
        found = children(kube, deployment, api_version, plural)
        alive = {
            item["metadata"]["name"]
            for item in found
            if "deletionTimestamp" not in item["metadata"]
        }
        return alive == before

    eventually(back, 5, f"a {kind} did not come back")


def test_deleted_rule_comes_back(kube: Kube, everloop: Everloop, model: str) -> None:
    serving(kube, model, everloop[1])
    monitor = make_monitor(model, everloop[1], model)
    kube.create(monitor)
    api_version, plural = APPLIED["PrometheusRule"]
    rule = eventually(lambda: children(kube, monitor, api_version, plural), 10, "no rule")[0]
    kube.delete(ref(api_version, "PrometheusRule", everloop[1], rule["metadata"]["name"]))

    def back() -> bool:
        found = children(kube, monitor, api_version, plural)
        return bool(found) and found[0]["metadata"]["uid"] != rule["metadata"]["uid"]

    eventually(back, 2, "the rule did not come back")


def test_every_applied_child_survives_a_hand(kube: Kube, everloop: Everloop, model: str) -> None:
    """Each field set by a builder, taken by a hand one object at a time, is ours again in 2 s.

    Taking the mark makes the engine apply the whole: the server must then show no difference.
    """
    deployment = serving(kube, model, everloop[1])
    monitor = make_monitor(model, everloop[1], model)
    kube.create(monitor)
    eventually(lambda: children(kube, monitor, *APPLIED["PrometheusRule"]), 10)
    everloop[0].wait_idle()
    for kind, (api_version, plural) in APPLIED.items():
        for parent in (deployment, monitor):
            for child in children(kube, parent, api_version, plural):
                take = child | {"kind": kind, "apiVersion": api_version}
                mark = child["metadata"]["annotations"][contract.ANNOTATION_APPLIED]
                label = child["metadata"]["labels"][contract.MANAGED_BY]
                kube.merge(take, _hand(child))
                eventually(_restored(kube, take, child, mark, label), 2, f"{kind} {plural}")
    everloop[0].wait_idle()
    assert "keeps" not in everloop[0].log.read_text()


def _hand(child: Json) -> Json:
    """Takes the mark, changes a label, adds one, and changes a value in the spec or data."""
    patch: Json = {
        "metadata": {
            "annotations": {contract.ANNOTATION_APPLIED: None},
            "labels": {contract.LABEL_COMPONENT: "by-hand", "foreign": "stays"},
        }
    }
    if "data" in child:
        patch["data"] = dict.fromkeys(child["data"], "by hand")
    if child.get("spec", {}).get("replicas") is not None:
        patch["spec"] = {"replicas": 7}
    if "groups" in child.get("spec", {}):
        patch["spec"] = {"groups": child["spec"]["groups"][:1]}
    return patch


def _restored(kube: Kube, take: Json, before: Json, mark: str, label: str) -> Callable[[], bool]:
    def check() -> bool:
        live = kube.get(take) or {}
        meta = live["metadata"]
        assert meta["labels"].get("foreign") == "stays", "the foreign label is gone"
        assert (meta.get("annotations") or {}).get(contract.ANNOTATION_APPLIED) == mark, "no mark"
        assert (
            meta["labels"][contract.LABEL_COMPONENT]
            == before["metadata"]["labels"][contract.LABEL_COMPONENT]
        ), "the label is still the hand's"
        for part in ("data", "spec"):
            assert live.get(part) == before.get(part), f"{part} differs"
        return True

    return check


def test_late_model_version_wakes_its_deployment(
    kube: Kube, everloop: Everloop, model: str
) -> None:
    deployment = make_deployment(model, everloop[1], modelName=model)
    kube.create(deployment)
    eventually(lambda: status(kube, deployment).get("observedGeneration") == 1, 10)
    everloop[0].wait_idle()
    kube.create(make_model_version(model, 1, everloop[1]))
    eventually(
        lambda: len(children(kube, deployment, "apps/v1", "deployments")) >= 2,
        3,
        "the version does not wake the Deployment",
    )


def test_late_deployment_wakes_its_monitor(kube: Kube, everloop: Everloop, model: str) -> None:
    monitor = make_monitor(model, everloop[1], model)
    kube.create(monitor)
    eventually(lambda: status(kube, monitor).get("observedGeneration") == 1, 10)
    before = condition(kube, monitor, contract.READY)
    everloop[0].wait_idle()
    kube.create(make_deployment(model, everloop[1], modelName=model))
    eventually(
        lambda: (
            condition(kube, monitor, contract.READY).get("reason") != before["reason"]
            or condition(kube, monitor, contract.READY).get("message") != before["message"]
        ),
        3,
        "the Deployment does not wake the Monitor",
    )


def test_trial_wakes_its_experiment(kube: Kube, everloop: Everloop, model: str) -> None:
    """A trial that fails makes room for the next."""
    search: Any = make_experiment(model, everloop[1], modelName=model)
    kube.create(search)

    def trials() -> list[Json]:
        return children(kube, search, contract.API_VERSION, "trainingruns")

    first = eventually(trials, 10, "no trial")[0]
    run = ref(contract.API_VERSION, "TrainingRun", everloop[1], first["metadata"]["name"])
    eventually(lambda: status(kube, run).get("attempt") == 1, 10, "no attempt")
    [job] = jobs(kube, run)
    kube.delete(ref("batch/v1", "Job", everloop[1], job["metadata"]["name"]))
    eventually(lambda: len(trials()) == 2, 20, "no second trial")
