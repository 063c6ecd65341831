"""NetworkPolicies of the pods we make: who may call them, and whom a router may call.

What a run or a model server calls is the user's code's business (data, stores, licences), so their
egress stays open. The kubelet's probes come from the node, which no policy stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everloop import contract
from everloop.api.deployment import Deployment
from everloop.manifests.meta import meta
from everloop.manifests.router import router_labels, router_selector

Dict = dict[str, Any]

API_VERSION, KIND = "networking.k8s.io/v1", "NetworkPolicy"
RUNS = "everloop-runs"  # one for all runs of a namespace: finished runs stay, and need none
DNS_PORTS = (53, 5353)  # of the Service, and of the pods behind it where they differ


def build_runs_policy(namespace: str) -> Dict:
    """Nobody calls the pods of runs. Not owned: the next run of the namespace needs it, too."""
    selector = {
        contract.MANAGED_BY: contract.MANAGED_BY_VALUE,
        contract.LABEL_COMPONENT: contract.COMPONENT_JOB,
    }
    return _policy(RUNS, namespace, {}, selector, {"policyTypes": ["Ingress"]})


def build_server_policy(deployment: Deployment) -> Dict:
    """Model servers of all versions: requests come by the router; anybody may read metrics."""
    name = deployment.metadata.name
    selector = {
        contract.LABEL_COMPONENT: contract.COMPONENT_SERVER,
        contract.LABEL_DEPLOYMENT: name,
    }
    ingress = [
        {
            "from": [{"podSelector": {"matchLabels": router_selector(name)}}],
            "ports": _ports(contract.SERVER_HTTP_PORT),
        },
        {"ports": _ports(contract.SERVER_METRICS_PORT)},
    ]
    return _policy(
        contract.child_name(name, "servers"),
        deployment.metadata.namespace,
        router_labels(deployment),
        selector,
        {"policyTypes": ["Ingress"], "ingress": ingress},
    )


def build_router_policy(deployment: Deployment) -> Dict:
    """The router: clients are anywhere; it calls its servers and asks DNS for them, nobody else."""
    name = deployment.metadata.name
    servers = {
        contract.LABEL_COMPONENT: contract.COMPONENT_SERVER,
        contract.LABEL_DEPLOYMENT: name,
    }
    egress = [
        {
            "to": [{"podSelector": {"matchLabels": servers}}],
            "ports": _ports(contract.SERVER_HTTP_PORT),
        },
        {"ports": [*_ports(*DNS_PORTS, protocol="UDP"), *_ports(*DNS_PORTS)]},
    ]
    spec = {
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": _ports(contract.ROUTER_HTTP_PORT, contract.ROUTER_STATUS_PORT)}],
        "egress": egress,
    }
    return _policy(
        contract.child_name(name, "router"),
        deployment.metadata.namespace,
        router_labels(deployment),
        router_selector(name),
        spec,
    )


def _policy(
    name: str, namespace: str, labels: Mapping[str, str], pods: Mapping[str, str], spec: Dict
) -> Dict:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": meta(name, namespace, contract.COMPONENT_NETWORK, labels),
        "spec": {"podSelector": {"matchLabels": dict(pods)}, **spec},
    }


def _ports(*numbers: int, protocol: str = "TCP") -> list[Dict]:
    return [{"protocol": protocol, "port": number} for number in numbers]
