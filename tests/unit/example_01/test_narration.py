"""What the demo says about a change, and that it says nothing when nothing changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

READY = {"type": "Ready", "status": "True", "reason": "Complete", "message": ""}


def said(kind: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    from demo.narration import narrate

    return [text for _, text in narrate(kind, before, after)]


def run(status: dict[str, Any]) -> dict[str, Any]:
    trigger = {"signal": "InputDrift", "value": "2.1"}
    return {
        "metadata": {
            "name": "flights-1-1",
            "labels": {"everloop.dev/monitor": "flights"},
            "annotations": {"everloop.dev/trigger": json.dumps(trigger)},
        },
        "spec": {"parameters": {}},
        "status": status,
    }


def deployment(v1: int, v2: int) -> dict[str, Any]:
    shares = [("flights-v1", v1), ("flights-v2", v2)]
    return {
        "metadata": {"name": "flights"},
        "status": {
            "champion": "flights-v1",
            "traffic": [{"modelVersion": name, "weight": weight} for name, weight in shares],
        },
    }


def monitor(state: str) -> dict[str, Any]:
    signal = {"name": "InputDrift", "state": state, "value": "2.1", "bound": "1", "samples": 290}
    return {
        "metadata": {"name": "flights"},
        "status": {"champion": "flights-v1", "signals": [{**signal, "top": ["temp 2.1"]}]},
    }


def test_weights() -> None:
    told = said("deployments", deployment(100, 0), deployment(90, 10))
    assert told == ["mldep flights: traffic flights-v1 90 %, flights-v2 10 %"]


def test_signal() -> None:
    (told,) = said("monitors", monitor("OK"), monitor("Firing"))
    assert "InputDrift of flights-v1 is Firing, 2.1" in told
    assert "temp 2.1" in told


def test_run_that_completes_tells_its_gates() -> None:
    gate = {"metric": "val_auc", "kind": "Champion", "verdict": "Pass", "value": "0.08"}
    ended = {
        "conditions": [READY, {**READY, "type": "Complete"}],
        "metrics": {"val_auc": "0.78123"},
        "gates": [{**gate, "message": "0.0812345678 against flights-v1"}],
    }
    told = said("trainingruns", run({"phase": "Running"}), run(ended))
    assert told[0] == "run flights-1-1 complete: val_auc 0.7812"
    assert told[1] == "gate val_auc Champion: Pass. 0.08123 against flights-v1"


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("deployments", deployment(90, 10)),
        ("monitors", monitor("Firing")),
        ("trainingruns", run({"phase": "Running"})),
    ],
)
def test_silent_without_change(kind: str, item: dict[str, Any]) -> None:
    assert said(kind, item, item) == []
