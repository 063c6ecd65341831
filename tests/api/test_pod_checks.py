"""Every pod we run, of the chart and of every builder: linted, and admitted as `restricted`.

Pod Security is asked on a real API server, by creations that are not carried out. Three checks do
not hold for users' steps, whose image is any image: a read-only root file system, a pinned image,
and resources (a step has what the user asks for; a run's pod has the requests of our containers).
Which of our own containers have no limit of memory is in `pod_checks.UNLIMITED`, with the reason.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from built import CASES, case_name, manifests, pod_templates, pods
from chart import MONITORING, MONITORING_RULES, find, of_kind, rendered
from kube import Answered, Json, Kube, ref
from network import STRANGER, may, policies, tcp
from operator_process import eventually
from pod_checks import TOKENLESS, UNLIMITED, all_containers, budget_findings, findings

from everloop import contract
from everloop.settings import Settings

RESTRICTED = {
    f"pod-security.kubernetes.io/{name}": "restricted" for name in ("enforce", "warn", "audit")
}
MAKING_PODS = [file for file in CASES if list(pod_templates(manifests(file)))]
VALUES: dict[str, tuple[str, ...]] = {
    "default": (*MONITORING, *MONITORING_RULES),
    "everything": (
        *("--set", "webhook.existingSecret=hook", "--set", "caBundle.configMap=ca"),
        *("--set", "proxy.HTTPS_PROXY=http://proxy:3128", "--set", "replicas=3"),
        *("--set", "watchNamespaces={team}", "--set", "image.registry=mirror.example"),
    ),
}


@pytest.mark.parametrize("file", MAKING_PODS, ids=case_name)
def test_built_pods_have_no_finding(file: Path) -> None:
    found: list[str] = []
    for item in manifests(file):
        for name, template in pod_templates([item]):
            replicas = item["spec"].get("replicas", 1)
            found += findings(name, template, kind=item["kind"], replicas=replicas)
    assert found == []


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_the_charts_pods_have_no_finding(values: tuple[str, ...]) -> None:
    objects = rendered(*values)
    for item in of_kind(objects, "Deployment"):
        template = deepcopy(item["spec"]["template"])
        assert template["spec"].pop(TOKENLESS) is True, "it calls the API server"
        template["spec"][TOKENLESS] = False
        replicas = item["spec"]["replicas"]
        assert findings("operator", template, kind="Deployment", replicas=replicas) == []


def test_no_budget_stops_a_drain() -> None:
    objects = [item for file in CASES for item in manifests(file)]
    objects += [item for values in VALUES.values() for item in rendered(*values)]
    budgets = of_kind(objects, "PodDisruptionBudget")
    assert {item["metadata"]["name"] for item in budgets} >= {"everloop", "flights-v1"}
    assert [text for item in budgets for text in budget_findings("budget", item)] == []


def test_who_has_no_limit_of_memory_has_a_reason_still() -> None:
    """An exception that nothing needs any more would hide what comes to need it."""
    templates = [found for file in MAKING_PODS for found in pod_templates(manifests(file))]
    unlimited = {
        container["name"]
        for _, template in templates
        for container in all_containers(template["spec"])
        if not ((container.get("resources") or {}).get("limits") or {}).get("memory")
    }
    assert unlimited >= UNLIMITED.keys()


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_the_charts_objects_fit_together(values: tuple[str, ...]) -> None:
    """No dangling Service, policy or budget; the account exists and is mounted only where used."""
    objects = rendered(*values)
    (operator,) = of_kind(objects, "Deployment")
    labels = operator["spec"]["template"]["metadata"]["labels"].items()
    assert operator["spec"]["selector"]["matchLabels"].items() <= labels
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    for service in of_kind(objects, "Service"):
        assert service["spec"]["selector"].items() <= labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    (policy,) = of_kind(objects, "NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert policy["metadata"]["namespace"] == operator["metadata"]["namespace"]
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels
    spec = operator["spec"]["template"]["spec"]
    account = find(objects, "ServiceAccount", spec["serviceAccountName"])
    assert account[TOKENLESS] is False


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_who_may_call_the_operator(values: tuple[str, ...]) -> None:
    """Runs report from any namespace; Prometheus, and with a Secret Alertmanager, is anybody."""
    objects = rendered(*values)
    specs, settings = policies(objects), Settings()
    (operator,) = of_kind(objects, "Deployment")
    labels = operator["spec"]["template"]["metadata"]["labels"]
    reports, webhook = tcp(settings.report_port), tcp(settings.webhook_port)
    hook = "webhook.existingSecret=hook" in values
    for namespace in (None, "ml"):
        for run in _pods_of(contract.COMPONENT_JOB):
            assert may("Ingress", specs, labels, run, reports, namespace=namespace)
        for other in (STRANGER, *_pods_of(contract.COMPONENT_SERVER)):
            metrics = tcp(settings.metrics_port)
            assert not may("Ingress", specs, labels, other, reports, namespace=namespace)
            assert may("Ingress", specs, labels, other, webhook, namespace=namespace) is hook
            assert may("Ingress", specs, labels, other, metrics, namespace=namespace)
            assert not may("Ingress", specs, labels, other, tcp(22), namespace=namespace)
    assert may("Egress", specs, labels, STRANGER, tcp(443)), "the API server is anywhere"


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_the_chart_repeats_labels_and_ports_as_they_are(values: tuple[str, ...]) -> None:
    """Of the contract and of the settings' defaults, which a chart cannot import."""
    objects = rendered(*values)
    settings = Settings()
    (operator,) = of_kind(objects, "Deployment")
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "reports": settings.report_port,
        "webhook": settings.webhook_port,
        "metrics": settings.metrics_port,
    }
    (policy,) = policies(objects)
    (runs,) = (rule for rule in policy["ingress"] if "from" in rule)
    selector = {
        contract.MANAGED_BY: contract.MANAGED_BY_VALUE,
        contract.LABEL_COMPONENT: contract.COMPONENT_JOB,
    }
    assert runs["from"] == [{"namespaceSelector": {}, "podSelector": {"matchLabels": selector}}]
    assert runs["ports"] == [tcp(settings.report_port)]


def _pods_of(component: str) -> list[Json]:
    """Labels of a component's pods in all golden cases."""
    found = [labels for file in CASES for labels in pods(manifests(file), component)]
    assert found
    return found


def test_without_network_policies_the_operator_has_none() -> None:
    assert of_kind(rendered("--set", "networkPolicies.enabled=false"), "NetworkPolicy") == []


def test_one_replica_needs_no_budget_which_would_stop_every_drain() -> None:
    assert of_kind(rendered("--set", "replicas=1"), "PodDisruptionBudget") == []


@pytest.fixture(scope="module")
def restricted(kube: Kube) -> str:
    """A namespace that refuses everything but `restricted`."""
    name = "restricted"
    meta = {"name": name, "labels": RESTRICTED}
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    account = ref("v1", "ServiceAccount", name, "default")
    eventually(lambda: kube.get(account), 30, "no account for pods")
    return name


def admit(kube: Kube, namespace: str, template: Json) -> None:
    """Ask for the pod without making it; raises Answered."""
    spec = deepcopy(template["spec"])
    for kind, api_version, field in (
        ("ServiceAccount", "v1", "serviceAccountName"),
        ("PriorityClass", "scheduling.k8s.io/v1", "priorityClassName"),
    ):
        if spec.get(field):
            _exists(kube, kind, api_version, spec[field], namespace)
    meta = {"name": "asked", "namespace": namespace, "labels": template["metadata"]["labels"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    kube.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)


def _exists(kube: Kube, kind: str, api_version: str, name: str, namespace: str) -> None:
    item: Json = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}
    if kind == "ServiceAccount":
        item["metadata"]["namespace"] = namespace
    else:
        item["value"] = 1
    kube.apply(item, "tests")


@pytest.mark.parametrize("file", MAKING_PODS, ids=case_name)
def test_built_pods_are_admitted_as_restricted(kube: Kube, restricted: str, file: Path) -> None:
    for _, template in pod_templates(manifests(file)):
        admit(kube, restricted, template)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_the_operator_is_admitted_as_restricted(
    kube: Kube, restricted: str, values: tuple[str, ...]
) -> None:
    (operator,) = of_kind(rendered(*values), "Deployment")
    admit(kube, restricted, operator["spec"]["template"])


def test_what_is_not_restricted_is_refused_there(kube: Kube, restricted: str) -> None:
    """So the tests above mean something."""
    template: dict[str, Any] = {
        "metadata": {"labels": {}},
        "spec": {"containers": [{"name": "root", "image": "root:1"}]},
    }
    with pytest.raises(Answered, match="violates PodSecurity"):
        admit(kube, restricted, template)
