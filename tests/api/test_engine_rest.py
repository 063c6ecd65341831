"""At rest the operator writes nothing but its Lease: with 100 objects of each kind."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from devcluster.control_plane_only import ControlPlane
from kube import Json, Kube
from operator_process import EVERLOOP, OperatorProcess, Writes, eventually
from samples import (
    make_deployment,
    make_experiment,
    make_model_version,
    make_monitor,
    make_training_run,
)

from everloop import contract

COUNT = 100
REST_SECONDS = 60
KINDS = ("experiments", "trainingruns", "modelversions", "deployments", "monitors")


def population(namespace: str) -> list[Json]:
    """100 of each kind; every tenth Deployment follows a model that has a version."""
    made: list[Json] = []
    for number in range(COUNT):
        model = f"model-{number}"
        made += [
            make_model_version(model, 1, namespace),
            make_training_run(f"run-{number}", namespace, modelName=model),
            make_experiment(f"search-{number}", namespace, modelName=model, suspend=True),
            make_deployment(
                f"serve-{number}", namespace, modelName=model if number % 10 == 0 else "none"
            ),
            make_monitor(f"watch-{number}", namespace, f"serve-{number}"),
        ]
    return made


def settled(kube: Kube, namespace: str) -> bool:
    """Whether every object has a status for its generation."""
    for plural in KINDS:
        items = kube.list(contract.API_VERSION, plural, namespace)
        assert len(items) >= COUNT, f"{len(items)} {plural}"
        for item in items:
            observed = (item.get("status") or {}).get("observedGeneration")
            meta = item["metadata"]
            assert observed == meta["generation"], f"{plural} {meta['name']} observed {observed}"
    return True


@pytest.mark.timeout(480)
def test_at_rest(kube: Kube, plane: ControlPlane, namespace: str, start: Any) -> None:
    assert plane.audit_log is not None
    operator: OperatorProcess = start(EVERLOOP, lease_seconds=60)
    operator.wait_leading()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(kube.create, population(namespace)))
    eventually(lambda: settled(kube, namespace), 180, "not every object has its status")
    operator.wait_idle(60)
    quiet(operator, Path(plane.audit_log))

    writes = Writes(Path(plane.audit_log))
    until = time.monotonic() + REST_SECONDS
    while time.monotonic() < until:
        assert writes.seen() == []
        operator.wait_idle(10)
        time.sleep(1)  # this test is about time that passes

    assert operator.stop() == 0
    operator.start()
    operator.wait_leading()
    operator.wait_idle(60)
    assert writes.seen() == [], "the restart wrote"
    assert "keeps" not in operator.log.read_text(), "the server keeps a field otherwise"


def quiet(operator: OperatorProcess, audit_log: Path) -> None:
    """Until the echoes of the controllers (status of Jobs and apps/Deployments) have ended."""
    state = {"writes": Writes(audit_log), "since": time.monotonic()}

    def five_seconds_without() -> bool:
        if state["writes"].seen():  # type: ignore[attr-defined]
            state.update(writes=Writes(audit_log), since=time.monotonic())
        return time.monotonic() - state["since"] > 5  # type: ignore[operator]

    eventually(five_seconds_without, 90, "it does not come to rest")
