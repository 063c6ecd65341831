"""The label by which children are watched, taken by a hand from what nobody owns."""

from __future__ import annotations

from typing import Any

import pytest
from kube import Json, Kube, ref
from operator_process import EVERLOOP, OperatorProcess, eventually
from samples import make_deployment, make_model_version, make_promotion

from everloop import contract

NO_LABEL = {"metadata": {"labels": {contract.MANAGED_BY: None}}}


def create_as_operator(kube: Kube, plural: str, manifest: Json) -> None:
    """POST under the operator's field manager, as its own POST of it would have been."""
    api_version, namespace = manifest["apiVersion"], manifest["metadata"]["namespace"]
    path = f"/apis/{api_version}/namespaces/{namespace}/{plural}"
    kube.call("POST", f"{path}?fieldManager={contract.FIELD_MANAGER}", manifest)


@pytest.fixture
def promoted(kube: Kube, namespace: str, start: Any) -> tuple[OperatorProcess, Json]:
    """A Deployment with a champion, and the record that says so."""
    version = make_model_version("flights", 1, namespace)
    deployment = make_deployment("flights", namespace, modelName="flights")
    record = make_promotion(deployment, version, "a test's: 1 < 2 & größer")
    create_as_operator(kube, "controllerrevisions", record)
    kube.create(version)
    kube.create(deployment)
    operator: OperatorProcess = start(EVERLOOP)
    router = ref("apps/v1", "Deployment", namespace, "flights-router")
    eventually(lambda: kube.get(router), 60, "nothing serves")
    operator.wait_idle()
    return operator, record


def labelled(kube: Kube, item: Json) -> bool:
    labels = (kube.get(item) or {})["metadata"].get("labels") or {}
    return bool(labels.get(contract.MANAGED_BY) == contract.MANAGED_BY_VALUE)


def seen(kube: Kube, version: Json) -> bool:
    """Whether the operator said something of it; the API server's default says nothing yet."""
    return bool(((kube.get(version) or {}).get("status") or {}).get("conditions"))


def take_label(kube: Kube, record: Json) -> None:
    """By PUT: the API server compares its data by bytes, and a PATCH writes "<" in another way."""
    live = kube.get(record)
    assert live is not None
    del live["metadata"]["labels"][contract.MANAGED_BY]
    kube.replace(live)


def names(kube: Kube, namespace: str) -> list[str]:
    found = kube.list("apps/v1", "controllerrevisions", namespace)
    return [item["metadata"]["name"] for item in found]


def test_history_keeps_its_label(
    kube: Kube, namespace: str, promoted: tuple[OperatorProcess, Json]
) -> None:
    operator, record = promoted
    take_label(kube, record)
    eventually(lambda: labelled(kube, record), 3, "the label is not back")
    operator.wait_idle()
    assert names(kube, namespace) == ["flights-promoted-1-v1"]


def test_history_whose_label_was_taken_while_nobody_looked(
    kube: Kube, namespace: str, promoted: tuple[OperatorProcess, Json]
) -> None:
    operator, record = promoted
    operator.stop()
    take_label(kube, record)
    operator.start()
    operator.wait_leading()
    eventually(lambda: labelled(kube, record), 3, "the label is not back")
    operator.wait_idle()
    assert names(kube, namespace) == ["flights-promoted-1-v1"]


def test_a_strangers_label_is_his_own(kube: Kube, namespace: str, start: Any) -> None:
    """Somebody labels an object as ours, and takes it back."""
    operator: OperatorProcess = start(EVERLOOP)
    operator.wait_leading()
    theirs = ref("v1", "ConfigMap", namespace, "theirs") | {"data": {"a": "b"}}
    theirs["metadata"]["labels"] = {contract.MANAGED_BY: contract.MANAGED_BY_VALUE}
    kube.create(theirs)
    operator.wait_idle()
    kube.merge(theirs, NO_LABEL)
    operator.stop()
    operator.start()
    operator.wait_leading()
    operator.wait_idle()
    assert not labelled(kube, theirs)


def test_a_model_version_that_we_registered_keeps_its_label(
    kube: Kube, namespace: str, start: Any
) -> None:
    """Versions are watched with and without it; users select by it."""
    start(EVERLOOP).wait_leading()
    version = make_model_version("flights", 1, namespace)
    version["metadata"]["labels"] = {contract.MANAGED_BY: contract.MANAGED_BY_VALUE}
    create_as_operator(kube, "modelversions", version)
    eventually(lambda: seen(kube, version), 20, "the operator has not seen it")
    kube.merge(version, NO_LABEL)
    eventually(lambda: labelled(kube, version), 3, "the label is not back")
