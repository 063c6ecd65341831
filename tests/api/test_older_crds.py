"""An operator that is newer than the CustomResourceDefinitions says so, and waits for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from crds import all_crds
from devcluster.control_plane_only import ControlPlane
from kube import Json, Kube
from operator_process import EVERLOOP, eventually

OLDER = "experiments.everloop.dev"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """An API server of its own, whose CRDs may change."""
    plane = ControlPlane(f"older-{os.getpid()}")
    plane.start()
    try:
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="module")
def kube(plane: ControlPlane) -> Kube:
    """Its administrator."""
    return Kube(plane.kubeconfig)


def older(crd: Json) -> Json:
    """What an earlier release may have had: without a field, and without a value."""
    before = deepcopy(crd)
    schema = before["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec = schema["properties"]["spec"]["properties"]
    del spec["maxFailedTrials"]
    spec["algorithm"]["properties"]["name"]["enum"].remove("TPE")
    del spec["algorithm"]["properties"]["name"]["default"]
    del spec["algorithm"]["default"]
    return before


def test_it_says_what_is_missing_and_goes_on_once_it_is_there(kube: Kube, start: Any) -> None:
    crds = {crd["metadata"]["name"]: crd for crd in all_crds()}
    kube.install([crd if name != OLDER else older(crd) for name, crd in crds.items()])
    operator = start(EVERLOOP)

    def told() -> str:  # at first, for a moment, that no schema is published yet
        status, text = operator.get("/readyz")
        return text if status == 503 and f"{OLDER} is older" in text else ""

    text = eventually(told, 60, f"not told. {operator.tail()}")
    assert "is older than this operator: it lacks" in text
    assert "spec.maxFailedTrials" in text
    assert "spec.algorithm.name: TPE" in text
    assert "crds.enabled=true" in text
    assert text in operator.log.read_text()
    assert operator.metric("everloop_operator_leader") == 0
    kube.install([crds[OLDER]])
    operator.wait_leading()
    assert operator.get("/readyz")[0] == 200
