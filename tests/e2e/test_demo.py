"""The demo with its negative control, to its end; then the cluster is asked what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e import Kube, Object, is_true

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "flights"
CONTROL_SECONDS = 70  # March 1 to 7, which the demo itself does not replay
LIMIT = 8 * 60 + CONTROL_SECONDS


@dataclass(frozen=True)
class Played:
    """What the driver wrote, and the operator's pods before and after."""

    result: dict[str, Any]
    before: dict[str, int]
    after: dict[str, int]


@pytest.fixture(scope="module")
def played(
    cluster_name: str, kube: Kube, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    """The demo, once; its namespace and bucket are removed afterwards."""
    result = tmp_path_factory.mktemp("demo") / "result.json"
    before = _restarts(kube)
    done = _demo(cluster_name, "--control", "--result", str(result))
    assert done == 0, "the demo did not end well: its last lines say why"
    yield Played(json.loads(result.read_text()), before, _restarts(kube))
    assert _demo(cluster_name, "--clean") == 0
    assert not kube.run("get", "namespace", NAMESPACE, "--ignore-not-found")


def test_no_request_failed(played: Played) -> None:
    requests = played.result["requests"]
    assert requests["failed"] == 0
    assert requests["sent"] > 5000


def test_in_time(played: Played) -> None:
    assert played.result["seconds"] <= LIMIT


def test_monitor_caused_exactly_one_run(played: Played, kube: Kube) -> None:
    runs = kube.list("mltr", NAMESPACE, "everloop.dev/monitor=flights")
    assert [run["metadata"]["name"] for run in runs] == ["flights-1-1"]
    assert is_true(runs[0], "Complete")
    trigger = json.loads(runs[0]["metadata"]["annotations"]["everloop.dev/trigger"])
    assert trigger["signal"] == "InputDrift"
    assert float(trigger["value"]) > 1
    moved = {text.split()[0] for text in trigger["top"][:2]}
    assert moved == {"temp", "dewp"}


def test_successor_is_champion_alone(played: Played, kube: Kube) -> None:
    status = kube.get("mldep", "flights", NAMESPACE)["status"]
    assert status["champion"] == "flights-v2"
    assert not status.get("challenger")
    shares = {one["modelVersion"]: one["weight"] for one in status["traffic"] if one["weight"]}
    assert shares == {"flights-v2": 100}


def test_successor_says_where_it_comes_from(played: Played, kube: Kube) -> None:
    first, second = (kube.get("mlmv", f"flights-v{n}", NAMESPACE)["spec"] for n in (1, 2))
    provenance = second["provenance"]
    assert provenance["run"] == "flights-1-1"
    assert provenance["parent"] == "flights-v1"
    assert provenance["trigger"]["signal"] == "InputDrift"
    assert provenance["runSpec"]["parameters"] == first["provenance"]["resolved"]["parameters"]
    (before,) = first["provenance"]["resolved"]["data"]
    (data,) = provenance["resolved"]["data"]
    assert (before["files"], before["rows"]) == (54, 45443)
    assert (data["files"], data["rows"]) == (196, 174048)
    assert data["digest"].startswith("sha256:")
    assert data["digest"] != before["digest"]
    assert set(provenance["resolved"]["images"]) >= {"train", "evaluate"}
    assert all("@sha256:" in image for image in provenance["resolved"]["images"].values())
    assert (
        provenance["resolved"]["trainingCutoff"]
        < second["evaluation"]["holdOut"]["timeSpan"]["end"]
    )


def test_gate_compared_both_on_the_same_hold_out(played: Played, kube: Kube) -> None:
    evaluation = kube.get("mlmv", "flights-v2", NAMESPACE)["spec"]["evaluation"]
    gates = {gate["kind"]: gate["verdict"] for gate in evaluation["gates"]}
    assert gates == {"Min": "Pass", "Champion": "Pass"}
    versus = evaluation["versus"]
    assert versus["champion"]["modelVersion"] == "flights-v1"
    assert float(versus["intervals"]["val_auc"]["low"]) > -0.01
    assert versus["metrics"]["val_rows"] == evaluation["metrics"]["val_rows"]


def test_history_is_kept(played: Played, kube: Kube) -> None:
    records = kube.list("controllerrevisions", NAMESPACE, "everloop.dev/deployment=flights")
    promotions = sorted(
        (record["revision"], record["data"]["version"]["name"])
        for record in records
        if record["data"].get("decision") == "Promotion"
    )
    assert [version for _, version in promotions] == ["flights-v1", "flights-v2"]
    assert not [one for one in records if one["data"].get("decision") == "Rejection"]


def test_every_step_of_the_rollout_was_analysed(played: Played, kube: Kube) -> None:
    verdicts = kube.get("mldep", "flights", NAMESPACE)["status"]["verdicts"]
    assert {one["step"]: one["verdict"] for one in verdicts} == {1: "Pass", 3: "Pass", 5: "Pass"}
    assert all(one["samples"] >= 60 for one in verdicts)


def test_successor_is_better_on_flights_that_neither_has_seen(played: Played) -> None:
    auc = played.result["auc"]
    assert 0.60 < auc["flights-v1"] < 0.71
    assert 0.72 < auc["flights-v2"] < 0.78


def test_undrifted_days_stayed_below_the_bound(played: Played) -> None:
    assert played.result["quietPeak"] is not None
    assert played.result["quietPeak"] < 1


def test_operator_was_not_restarted(played: Played) -> None:
    assert played.before
    assert played.after == played.before


def _restarts(kube: Kube) -> dict[str, int]:
    pods: list[Object] = kube.list("pods", "everloop-system", "app.kubernetes.io/name=everloop")
    return {
        pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in pods
    }


def _demo(cluster: str, *options: str) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'examples/01-flights'}"}
    command = [sys.executable, "-m", "demo", "--name", cluster, *options]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
