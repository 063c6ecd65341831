"""NetworkPolicies, as text: the dev cluster's network does not enforce them.

A small reading of the NetworkPolicy API says who may call whom among the pods that builders make,
as a network that enforces policies would have it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from built import manifests, pod_templates
from golden import ROOT, FakeOutside, FakeReader, tick
from runs import NOW, make_config, make_run

from everloop import contract
from everloop.handlers.trainingrun import KIND
from everloop.manifests.network import RUNS, build_runs_policy
from everloop.plans.plan import Plan
from everloop.settings import Settings

Dict = dict[str, Any]
STRANGER = {"app": "somebody"}
SERVING = manifests(ROOT / "deployment" / "two-versions-and-pod-settings" / "children.yaml")
TRAINING = manifests(ROOT / "trainingrun" / "first-attempt-with-everything" / "children.yaml")
ENDS = {"Ingress": "from", "Egress": "to"}


def policies(objects: list[Dict]) -> list[Dict]:
    return [item["spec"] for item in objects if item["kind"] == "NetworkPolicy"]


def pods(objects: list[Dict], component: str) -> list[Dict]:
    """Labels of the pods of a component."""
    labels = [template["metadata"]["labels"] for _, template in pod_templates(objects)]
    found = [item for item in labels if item[contract.LABEL_COMPONENT] == component]
    assert found
    return found


def may(way: str, specs: list[Dict], pod: Dict, peer: Dict, port: Dict) -> bool:
    """Whether such a pod may be called by such a peer (Ingress), or call it (Egress)."""
    ours = [
        spec
        for spec in specs
        if way in spec["policyTypes"] and spec["podSelector"]["matchLabels"].items() <= pod.items()
    ]
    return not ours or any(
        port in rule["ports"]
        and (ENDS[way] not in rule or any(_matches(one, peer) for one in rule[ENDS[way]]))
        for spec in ours
        for rule in spec.get(way.lower(), [])
    )


def _matches(selector: Dict, labels: Dict) -> bool:
    return bool(selector["podSelector"]["matchLabels"].items() <= labels.items())


def tcp(port: int) -> Dict:
    return {"protocol": "TCP", "port": port}


def test_every_pod_that_we_make_has_a_policy() -> None:
    for objects in (SERVING, TRAINING):
        specs = policies(objects)
        for name, template in pod_templates(objects):
            labels = template["metadata"]["labels"]
            chosen = [s for s in specs if s["podSelector"]["matchLabels"].items() <= labels.items()]
            assert chosen, f"no NetworkPolicy for {name}"


def test_servers_are_called_by_their_router_alone() -> None:
    specs = policies(SERVING)
    (router,) = pods(SERVING, contract.COMPONENT_ROUTER)
    other = {**router, contract.LABEL_DEPLOYMENT: "another"}
    for server in pods(SERVING, contract.COMPONENT_SERVER):
        http = tcp(contract.SERVER_HTTP_PORT)
        assert may("Ingress", specs, server, router, http)
        assert not may("Ingress", specs, server, other, http)
        assert not may("Ingress", specs, server, STRANGER, http)
        assert may("Ingress", specs, server, STRANGER, tcp(contract.SERVER_METRICS_PORT))
        assert may("Egress", specs, router, server, http)
        assert may("Egress", specs, server, STRANGER, tcp(443)), "a server fetches its model"


def test_a_router_calls_its_servers_and_dns_alone() -> None:
    specs = policies(SERVING)
    (router,) = pods(SERVING, contract.COMPONENT_ROUTER)
    server = pods(SERVING, contract.COMPONENT_SERVER)[0]
    other = {**server, contract.LABEL_DEPLOYMENT: "another"}
    assert not may("Egress", specs, router, other, tcp(contract.SERVER_HTTP_PORT))
    assert not may("Egress", specs, router, STRANGER, tcp(443))
    assert not may("Egress", specs, router, server, tcp(22))
    for protocol in ("UDP", "TCP"):
        assert may("Egress", specs, router, STRANGER, {"protocol": protocol, "port": 53})


def test_clients_the_operator_and_prometheus_call_routers() -> None:
    specs = policies(SERVING)
    (router,) = pods(SERVING, contract.COMPONENT_ROUTER)
    for port in (contract.ROUTER_HTTP_PORT, contract.ROUTER_STATUS_PORT):
        assert may("Ingress", specs, router, STRANGER, tcp(port))
    assert not may("Ingress", specs, router, STRANGER, tcp(9901))


def test_nobody_calls_a_run_and_a_run_calls_anybody() -> None:
    specs = policies(TRAINING)
    for run in pods(TRAINING, contract.COMPONENT_JOB):
        assert not may("Ingress", specs, run, STRANGER, tcp(8080))
        assert may("Egress", specs, run, STRANGER, tcp(443))


# --- when they come and go ------------------------------------------------------------------------
def plan(run: Dict, *objects: Dict, enabled: bool = True) -> Plan:
    outside = FakeOutside(Settings(network_policies=enabled), FakeReader([run, *objects]))
    return tick(KIND, run, [run, *objects], outside, datetime.fromisoformat(NOW))


def live_policy() -> Dict:
    policy = build_runs_policy("ml")
    return {**policy, "metadata": {**policy["metadata"], "uid": "uid-policy"}}


def test_the_policy_comes_before_the_first_pod() -> None:
    run = make_run()
    made = plan(run, make_config(run)).children
    assert [child.manifest["kind"] for child in made] == ["NetworkPolicy", "Job"]
    assert not made[0].owned


def test_without_a_pod_there_is_none() -> None:
    run = make_run(suspend=True)
    assert plan(run, make_config(run)).children == ()


def test_switched_off_they_are_removed() -> None:
    run = make_run()
    result = plan(run, make_config(run), live_policy(), enabled=False)
    assert [item.name for item in result.deletions] == [RUNS]
    assert [child.manifest["kind"] for child in result.children] == ["Job"]


@pytest.mark.parametrize("over", [False, True])
def test_only_runs_that_are_not_over_wait_for_it(over: bool) -> None:
    run = make_run()
    if over:
        run["status"] = {"conditions": [{"type": contract.COMPLETE, "status": "True"}]}
    waits = [ref for ref in KIND.references(run) if ref.name == RUNS]
    assert len(waits) == (0 if over else 1)
