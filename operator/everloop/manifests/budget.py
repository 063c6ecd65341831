"""PodDisruptionBudgets of model servers."""

from __future__ import annotations

from typing import Any

from everloop import contract
from everloop.api.deployment import Deployment
from everloop.manifests.meta import meta
from everloop.manifests.server import Served, server_labels, server_name, server_selector

Dict = dict[str, Any]


def build_server_budget(deployment: Deployment, served: Served) -> Dict | None:
    """A drain of nodes takes one replica at a time; of a single one it would only be stopped.

    A replica that is not ready serves nobody, and must not keep its node from being drained.
    """
    if deployment.spec.runtime.replicas < 2:
        return None
    name = deployment.metadata.name
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta(
            server_name(name, served.number),
            deployment.metadata.namespace,
            contract.COMPONENT_SERVER,
            server_labels(deployment, served.name),
        ),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": server_selector(name, served.name)},
        },
    }
