"""Labels and annotations that users and the chart give to pods make no pod another object's.

Who selects a pod (servers, routers, policies, Prometheus) goes by labels of Everloop's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from runs import make_run

from everloop import contract
from everloop.api.deployment import Deployment
from everloop.api.modelversion import Artifact
from everloop.api.trainingrun import TrainingRun
from everloop.errors import InvalidSpec
from everloop.manifests.budget import build_server_budget
from everloop.manifests.network import build_router_policy, build_runs_policy, build_server_policy
from everloop.manifests.router import build_client_service, build_router
from everloop.manifests.router_config import BOOTSTRAP
from everloop.manifests.scrape import build_pod_monitor
from everloop.manifests.server import Served, build_server, build_server_service
from everloop.manifests.trainingrun_job import build_job
from everloop.settings import Settings

Dict = dict[str, Any]
OURS = sorted(
    {value for name, value in vars(contract).items() if name.startswith("LABEL_")}
    | {contract.MANAGED_BY, f"{contract.GROUP}/new"}
)
VALUES = [
    contract.MANAGED_BY_VALUE, contract.COMPONENT_SERVER, contract.COMPONENT_ROUTER,
    contract.COMPONENT_JOB, "m", "other", "m-v1", "other-v1", "flights-1", "1", "x", "",
]  # fmt: skip
THEIRS = ["team", "app", "example.com/everloop.dev", "everloop.dev", "everloop.dev.example.com/x"]
of_theirs = st.dictionaries(st.sampled_from(THEIRS), st.sampled_from(VALUES))
of_ours = st.dictionaries(st.sampled_from(OURS), st.sampled_from(VALUES), min_size=1)
notes = st.dictionaries(st.sampled_from([*THEIRS, *OURS]), st.text(max_size=9))
places = st.sampled_from(["pod", "podDefaults"])


def serving(name: str, pod: Dict) -> Deployment:
    return Deployment.model_validate(
        {
            "metadata": {"name": name, "namespace": "ml"},
            "spec": {
                "modelName": name,
                "rollout": {"steps": [{"weight": 100}]},
                "runtime": {"replicas": 2, "pod": pod},
            },
        }
    )


def served(name: str) -> Served:
    return Served(f"{name}-v1", 1, name, Artifact(uri="s3://m", digest="sha256:" + "0" * 64))


def makers(place: str, block: Dict) -> dict[str, Callable[[], Dict]]:
    """Of what has pods, by the name of its part; the block is the object's, or the chart's."""
    pod = block if place == "pod" else {}
    settings = Settings(pod_defaults=block if place == "podDefaults" else {})
    run = TrainingRun.model_validate(make_run(pod=pod))
    deployment = serving("m", pod)
    return {
        "run": lambda: build_job(settings, run, 1, compares=False, resolution=None),
        "server": lambda: build_server(deployment, served("m"), settings, {}),
        "router": lambda: build_router(deployment, settings, {BOOTSTRAP: ""}),
    }


def made(place: str, block: Dict) -> dict[str, Dict]:
    return {part: make() for part, make in makers(place, block).items()}


def selectors() -> Iterator[tuple[str, Dict]]:
    """Whatever selects pods, of this object and of another one."""
    yield "runs", build_runs_policy("ml")["spec"]["podSelector"]["matchLabels"]
    for name in ("m", "other"):
        deployment, version = serving(name, {}), served(name)
        budget = build_server_budget(deployment, version)
        assert budget is not None
        monitor = build_pod_monitor("ml", name, Settings())
        for what in (
            build_server(deployment, version, Settings(), {}),
            build_router(deployment, Settings(), {BOOTSTRAP: ""}),
            budget,
            monitor,
        ):
            yield f"{what['kind']} of {name}", what["spec"]["selector"]["matchLabels"]
        for service in (
            build_client_service(deployment),
            build_server_service(deployment, version),
        ):
            yield f"Service {service['metadata']['name']}", service["spec"]["selector"]
        for policy in (build_server_policy(deployment), build_router_policy(deployment)):
            selector = policy["spec"]["podSelector"]["matchLabels"]
            yield f"NetworkPolicy {policy['metadata']['name']}", selector


SELECTORS = list(selectors())
PLAIN = made("pod", {})


def labels(item: Dict) -> Dict:
    found: Dict = item["spec"]["template"]["metadata"]["labels"]
    return found


def chosen(item: Dict) -> list[str]:
    """Who selects its pods."""
    return [name for name, selector in SELECTORS if selector.items() <= labels(item).items()]


def test_each_pod_is_selected_by_its_own_object_alone() -> None:
    assert {part: chosen(item) for part, item in PLAIN.items()} == {
        "run": ["runs"],
        "server": [
            "Deployment of m", "PodDisruptionBudget of m", "PodMonitor of m", "Service m-v1",
            "NetworkPolicy m-servers",
        ],
        "router": ["Deployment of m", "PodMonitor of m", "Service m", "NetworkPolicy m-router"],
    }  # fmt: skip


@given(places, of_theirs, notes)
def test_labels_and_annotations_of_others_come_to_the_pods_and_change_nothing_else(
    place: str, theirs: dict[str, str], annotations: dict[str, str]
) -> None:
    found = made(place, {"labels": theirs, "annotations": annotations})
    for part, item in found.items():
        plain = PLAIN[part]
        mine = part != "router" and theirs  # a router has none of them
        assert labels(item) == {**labels(plain), **(mine or {})}
        assert chosen(item) == chosen(plain)
        assert item["metadata"] == plain["metadata"]
        noted = item["spec"]["template"]["metadata"].get("annotations", {})
        own = plain["spec"]["template"]["metadata"].get("annotations", {})
        expected = annotations if place == "podDefaults" or part != "router" else {}
        assert noted == {**expected, **own}


@example("podDefaults", {contract.LABEL_DEPLOYMENT: "other"}, {})
@given(places, of_ours, of_theirs)
def test_a_label_of_ours_makes_no_pod(place: str, ours: Dict, theirs: Dict) -> None:
    """The CRDs refuse them; no rule reads podDefaults, and objects may be older than one."""
    for part, make in makers(place, {"labels": {**ours, **theirs}}).items():
        if part == "router" and place == "pod":  # that block is the servers'
            assert make() == PLAIN[part]
            continue
        words = f"^{place}.*: label {next(iter(ours))}: .*another name"
        with pytest.raises(InvalidSpec, match=words):
            make()
