"""The picture that `kubectl everloop status` draws."""

from __future__ import annotations

import json
from typing import Any

import pytest

from everloop import contract
from everloop.cli.client import ClientError
from everloop.cli.retrain import find_monitor
from everloop.cli.status import draw, find_chain


class FakeClient:
    """Lists what it was given."""

    namespace = "ml"

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects = objects

    def list(self, plural: str) -> list[dict[str, Any]]:
        return self.objects.get(plural, [])


def make(name: str, spec: dict[str, Any], status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": name, **meta},
        "spec": spec,
        "status": status,
    }


def make_client() -> FakeClient:
    trial = make(
        "search-0",
        {"modelName": "flights"},
        {"phase": "Complete", "metrics": {"val_auc": "0.61234567"}},
        labels={contract.LABEL_EXPERIMENT: "search", contract.LABEL_TRIAL: "0"},
        ownerReferences=[{"uid": "uid-search", "controller": True}],
    )
    caused = make(
        "watch-1-1",
        {"modelName": "flights"},
        {
            "phase": "Complete",
            "modelVersion": "flights-v2",
            "gates": [{"metric": "val_auc", "kind": "Champion", "verdict": "Skipped"}],
        },
        labels={contract.LABEL_MONITOR: "watch"},
        annotations={contract.ANNOTATION_TRIGGER: json.dumps({"signal": "InputDrift"})},
    )
    best = {"run": "search-0", "value": "0.61234567"}
    search = make(
        "search",
        {"modelName": "flights", "trials": 4, "objective": {"metric": "val_auc"}},
        {"phase": "Running", "succeeded": 1, "best": best},
    )
    artifact = {"digest": "sha256:0123456789abcdef"}
    data = {"name": "days", "digest": "sha256:fedcba9876543210", "rows": 45443}
    version = make(
        "flights-v2",
        {
            "modelName": "flights",
            "version": 2,
            "artifact": artifact,
            "provenance": {
                "run": "watch-1-1",
                "parent": "flights-v1",
                "resolved": {"data": [data]},
            },
        },
        {},
    )
    serving = make(
        "flights",
        {"modelName": "flights"},
        {
            "phase": "Serving",
            "url": "http://flights.ml.svc",
            "traffic": [
                {
                    "modelVersion": "flights-v2",
                    "weight": 100,
                    "readyReplicas": 1,
                    "role": "Champion",
                }
            ],
        },
    )
    watch = make(
        "watch",
        {"deployment": "flights"},
        {
            "phase": "Watching",
            "champion": "flights-v2",
            "signals": [
                {
                    "name": "InputDrift",
                    "state": "Firing",
                    "value": "2.04999",
                    "bound": "1",
                    "top": ["temp", "dewp"],
                }
            ],
            "refusals": [{"reason": "Cooldown", "count": 2, "message": "until noon"}],
        },
    )
    other = make("rides-1", {"modelName": "rides"}, {})
    return FakeClient(
        experiments=[search],
        trainingruns=[trial, caused, other],
        modelversions=[version],
        deployments=[serving],
        monitors=[watch],
    )


EXPECTED = """\
model flights
├─ experiment search  Running  1/4 trials, best search-0 val_auc=0.6123
│   ★ trial search-0  Complete  val_auc=0.6123
├─ version flights-v2  sha256:0123456789ab  from run watch-1-1  after flights-v1
│     data days sha256:fedcba987654, 45443 rows
├─ mldep flights  Serving  http://flights.ml.svc
│     flights-v2           100 % ████████████████████ Champion, 1 ready
└─ monitor watch  Watching  watches flights-v2
      InputDrift   Firing   2.05 (bound 1)  temp, dewp
      refused 2 times: Cooldown (until noon)
      ↻ run watch-1-1  Complete  → flights-v2  gate val_auc Champion: Skipped  because InputDrift"""


@pytest.mark.parametrize("name", ["flights", "search", "watch", "watch-1-1", "flights-v2"])
def test_any_name_of_the_model_draws_its_whole_chain(name: str) -> None:
    chain = find_chain(make_client(), name)  # type: ignore[arg-type]
    assert "\n".join(draw(chain)) == EXPECTED


def test_the_last_branch_alone_ends_the_tree() -> None:
    """Also with a second Deployment after the first one's Monitor."""
    client = make_client()
    client.objects["deployments"].append(make("canary", {"modelName": "flights"}, {}))
    lines = list(draw(find_chain(client, "flights")))  # type: ignore[arg-type]
    heads = [line for line in lines if line.startswith(("├─", "└─"))]
    assert [head[0] for head in heads] == ["├"] * (len(heads) - 1) + ["└"]
    assert heads[-1].startswith("└─ mldep canary")
    assert lines[lines.index(heads[-2]) + 1].startswith("│     InputDrift")


def test_an_unknown_name_lists_the_models_there_are() -> None:
    with pytest.raises(ClientError, match=r"nothing is called fligths .* flights, rides"):
        find_chain(make_client(), "fligths")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["watch", "flights"])
def test_retrain_takes_a_monitor_or_its_deployment(name: str) -> None:
    assert find_monitor(make_client(), name) == "watch"  # type: ignore[arg-type]


def test_retrain_says_which_monitors_there_are() -> None:
    with pytest.raises(ClientError, match=r"has no Monitor nope.*there are: watch"):
        find_monitor(make_client(), "nope")  # type: ignore[arg-type]


def test_retrain_wants_one_monitor() -> None:
    client = make_client()
    client.objects["monitors"].append(make("second", {"deployment": "flights"}, {}))
    with pytest.raises(ClientError, match=r"several Monitors watch flights: .* watch, second"):
        find_monitor(client, "flights")  # type: ignore[arg-type]
