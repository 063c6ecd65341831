"""NetworkPolicies, as text: the dev cluster's network does not enforce them.

Who may call whom among the pods that builders make, in all golden cases; the operator's own policy,
which is the chart's, is in tests/api/test_pod_checks.py.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from built import CASES, case_name, manifests, pod_templates, pods
from golden import FakeOutside, FakeReader, tick
from network import STRANGER, chosen, may, policies, tcp
from runs import NOW, make_config, make_run

from everloop import contract
from everloop.handlers.trainingrun import KIND
from everloop.manifests.network import RUNS, build_runs_policy
from everloop.plans.plan import Plan
from everloop.settings import Settings

Dict = dict[str, Any]
MAKING_PODS = [file for file in CASES if list(pod_templates(manifests(file)))]
SERVING = [file for file in CASES if pods(manifests(file), contract.COMPONENT_SERVER)]
TRAINING = [file for file in CASES if pods(manifests(file), contract.COMPONENT_JOB)]
serving = pytest.mark.parametrize("file", SERVING, ids=case_name)


def test_there_are_cases_of_both() -> None:
    assert len(SERVING) > 1
    assert len(TRAINING) > 1
    assert {*SERVING, *TRAINING} == {*MAKING_PODS}


@pytest.mark.parametrize("file", MAKING_PODS, ids=case_name)
def test_every_pod_that_we_make_has_a_policy(file: Path) -> None:
    specs = policies(manifests(file))
    for name, template in pod_templates(manifests(file)):
        assert chosen(specs, template["metadata"]["labels"]), f"no NetworkPolicy for {name}"


@serving
def test_servers_are_called_by_their_router_alone(file: Path) -> None:
    objects = manifests(file)
    specs = policies(objects)
    (router,) = pods(objects, contract.COMPONENT_ROUTER)
    other = {**router, contract.LABEL_DEPLOYMENT: "another"}
    for server in pods(objects, contract.COMPONENT_SERVER):
        http = tcp(contract.SERVER_HTTP_PORT)
        assert may("Ingress", specs, server, router, http)
        assert not may("Ingress", specs, server, router, http, namespace="elsewhere")
        assert not may("Ingress", specs, server, other, http)
        assert not may("Ingress", specs, server, STRANGER, http)
        assert may("Ingress", specs, server, STRANGER, tcp(contract.SERVER_METRICS_PORT))
        assert may("Egress", specs, router, server, http)
        assert may("Egress", specs, server, STRANGER, tcp(443)), "a server fetches its model"


@serving
def test_a_router_calls_its_servers_and_dns_alone(file: Path) -> None:
    objects = manifests(file)
    specs = policies(objects)
    (router,) = pods(objects, contract.COMPONENT_ROUTER)
    server = pods(objects, contract.COMPONENT_SERVER)[0]
    other = {**server, contract.LABEL_DEPLOYMENT: "another"}
    assert not may("Egress", specs, router, other, tcp(contract.SERVER_HTTP_PORT))
    assert not may("Egress", specs, router, STRANGER, tcp(443))
    assert not may("Egress", specs, router, server, tcp(22))
    for protocol in ("UDP", "TCP"):
        for namespace in (None, "kube-system"):
            dns = {"protocol": protocol, "port": 53}
            assert may("Egress", specs, router, STRANGER, dns, namespace=namespace)


@serving
def test_clients_the_operator_and_prometheus_call_routers(file: Path) -> None:
    objects = manifests(file)
    specs = policies(objects)
    (router,) = pods(objects, contract.COMPONENT_ROUTER)
    for namespace in (None, "elsewhere"):
        for port in (contract.ROUTER_HTTP_PORT, contract.ROUTER_STATUS_PORT):
            assert may("Ingress", specs, router, STRANGER, tcp(port), namespace=namespace)
        assert not may("Ingress", specs, router, STRANGER, tcp(9901), namespace=namespace)


@pytest.mark.parametrize("file", TRAINING, ids=case_name)
def test_nobody_calls_a_run_and_a_run_calls_anybody(file: Path) -> None:
    objects = manifests(file)
    specs = policies(objects)
    for run in pods(objects, contract.COMPONENT_JOB):
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
