"""What tests ask of objects on a real API server."""

from __future__ import annotations

from kube import Json, Kube
from operator_process import eventually
from samples import (
    make_deployment,
    make_model_version,
    make_monitor,
    make_promotion,
    make_training_run,
)

from everloop import contract


def children(kube: Kube, parent: Json, api_version: str, plural: str) -> list[Json]:
    """Objects whose controller is the live parent."""
    live = kube.get(parent)
    assert live is not None
    uid = live["metadata"]["uid"]
    return [
        item
        for item in kube.list(api_version, plural, parent["metadata"]["namespace"])
        if any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", []))
    ]


def status(kube: Kube, manifest: Json) -> Json:
    found: Json = (kube.get(manifest) or {}).get("status") or {}
    return found


def condition(kube: Kube, manifest: Json, kind: str) -> Json:
    found = (item for item in status(kube, manifest).get("conditions", []) if item["type"] == kind)
    return next(found, {})


def jobs(kube: Kube, run: Json) -> list[Json]:
    return children(kube, run, "batch/v1", "jobs")


def serving(kube: Kube, model: str, namespace: str) -> Json:
    """A Deployment whose first version is champion; without a node it is not ready."""
    deployment = make_deployment(model, namespace, modelName=model)
    version = make_model_version(model, 1, namespace)
    kube.create(version)
    kube.create(make_promotion(deployment, version))
    kube.create(deployment)
    eventually(lambda: len(children(kube, deployment, "apps/v1", "deployments")) >= 2, 10)
    return deployment


def ask(kube: Kube, namespace: str) -> Json:
    """A Monitor, `watch`, that a person asks for a run, and all that it takes to make one."""
    run = make_training_run("unused", namespace, modelName="flights")["spec"]
    provenance = {"run": "flights-1", "runSpec": run}
    version = make_model_version("flights", 1, namespace, provenance=provenance)
    deployment = make_deployment("flights", namespace, modelName="flights")
    monitor = make_monitor("watch", namespace, "flights", retrain={"signals": ["ErrorsHigh"]})
    monitor["metadata"]["annotations"] = {contract.ANNOTATION_RETRAIN: "once"}
    for item in (make_promotion(deployment, version), version, deployment, monitor):
        kube.create(item)
    return monitor
