"""What the API server does not let us make is not taken for made, and is made once it may be."""

from __future__ import annotations

from typing import Any

from kube import Json, Kube, ref
from live import ask, condition, status
from operator_process import EVERLOOP, OperatorProcess, eventually
from samples import make_experiment

from everloop import contract


def no_runs(kube: Kube, namespace: str) -> Json:
    """A quota by which no TrainingRun can be made."""
    quota = ref("v1", "ResourceQuota", namespace, "no-runs")
    kube.create(quota | {"spec": {"hard": {f"count/trainingruns.{contract.GROUP}": "0"}}})
    return quota


def runs(kube: Kube, namespace: str) -> list[str]:
    found = kube.list(contract.API_VERSION, "trainingruns", namespace)
    return sorted(item["metadata"]["name"] for item in found)


def refusals(kube: Kube, parent: Json, operator: OperatorProcess) -> None:
    """Wait until the parent says so, and then for another try."""
    eventually(
        lambda: condition(kube, parent, contract.READY).get("reason") == "Forbidden",
        20,
        operator.tail(),
    )
    assert "no-runs" in condition(kube, parent, contract.READY)["message"]
    asked = tries(operator)
    eventually(lambda: tries(operator) >= asked + 1, 20, "it is not tried again")


def tries(operator: OperatorProcess) -> float:
    """How often the operator was refused a TrainingRun."""
    lines = operator.get("/metrics")[1].splitlines()
    wanted = 'requests_total{resource="trainingruns",status="403",verb="create"}'
    return sum(float(line.split()[-1]) for line in lines if wanted in line)


def test_trials(kube: Kube, namespace: str, start: Any) -> None:
    """A search that may make no trial has spent none."""
    operator: OperatorProcess = start(EVERLOOP)
    quota = no_runs(kube, namespace)
    parent = make_experiment("search", namespace, modelName="flights", trials=2, parallelTrials=1)
    kube.create(parent)
    refusals(kube, parent, operator)
    told = status(kube, parent)
    assert (told.get("created", 0), told.get("running", 0), told["phase"]) == (0, 0, "Running")
    assert "startTime" not in told
    kube.delete(quota)
    eventually(lambda: runs(kube, namespace) == ["search-0"], 30, operator.tail())


def test_a_monitors_run(kube: Kube, namespace: str, start: Any) -> None:
    """No record says that it was made, and what a person asked for is made as soon as it may be."""
    operator: OperatorProcess = start(EVERLOOP)
    quota = no_runs(kube, namespace)
    monitor = ask(kube, namespace)
    refusals(kube, monitor, operator)
    records = kube.list("apps/v1", "controllerrevisions", namespace)
    assert not [r for r in records if r["metadata"]["labels"].get(contract.LABEL_MONITOR)]
    assert "lastRetrain" not in status(kube, monitor)
    kube.delete(quota)
    eventually(lambda: runs(kube, namespace) == ["watch-1-1"], 30, operator.tail())
    eventually(lambda: status(kube, monitor).get("lastRetrain", {}).get("run") == "watch-1-1", 20)
