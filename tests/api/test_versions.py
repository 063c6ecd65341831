"""A version that somebody deletes stays deleted, whatever is lost afterwards."""

from __future__ import annotations

import json
from typing import Any

from kube import Json, Kube, ref
from operator_process import EVERLOOP, OperatorProcess, eventually
from runs import make_report
from samples import make_training_run

from everloop import contract
from everloop.api.trainingrun import TrainingRun
from everloop.cluster import objects
from everloop.manifests.trainingrun import build_report, report_name


def report_of(kube: Kube, namespace: str, name: str) -> Json:
    """Hand in a run's report, as the report channel would keep it."""
    run = kube.get(ref(contract.API_VERSION, "TrainingRun", namespace, name))
    assert run is not None
    text = json.dumps(make_report(run, namespace=namespace))
    manifest = build_report(TrainingRun.model_validate(run), text, {})
    manifest["metadata"]["ownerReferences"] = [objects.owner_reference(run)]
    return kube.create(manifest)


def test_a_deleted_version_stays_deleted_without_any_status(
    kube: Kube, namespace: str, start: Any
) -> None:
    operator: OperatorProcess = start(EVERLOOP)
    run = make_training_run("flights", namespace, modelName="flights")
    config = ref("v1", "ConfigMap", namespace, "flights-config")
    version = ref(contract.API_VERSION, "ModelVersion", namespace, "flights-v1")
    report = ref("v1", "ConfigMap", namespace, report_name("flights"))

    def status() -> Json:
        return dict((kube.get(run) or {}).get("status") or {})

    def annotation() -> str | None:
        found = (kube.get(report) or {})["metadata"].get("annotations") or {}
        return found.get(contract.ANNOTATION_REGISTERED)

    kube.create(run)
    eventually(lambda: kube.get(config), 30, f"the run does not begin. {operator.tail()}")
    report_of(kube, namespace, "flights")
    eventually(lambda: status().get("modelVersion") == "flights-v1", 20, "no version")
    operator.wait_idle()
    assert annotation() is None, "a write that a version which exists does not need"

    operator.stop()  # it may happen while nobody looks
    kube.delete(version)
    operator.start()
    eventually(lambda: annotation() == "flights-v1", 30, "nothing remembers the version")
    kube.merge(run, {"status": None}, "status")
    eventually(lambda: status().get("modelVersion") == "flights-v1", 20, "the status is not back")
    operator.wait_idle()
    assert kube.list(contract.API_VERSION, "modelversions", namespace) == []
