"""ModelVersion: what it observes. What it says of itself is plans/modelversion.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from everloop import contract
from everloop.handlers.kind import Kind, Object, Ref, View
from everloop.handlers.resources import APPS_DEPLOYMENTS, DEPLOYMENTS, MODEL_VERSIONS
from everloop.plans.modelversion import Observed, plan


def references(version: Object) -> Iterable[Ref]:
    """The servers of its model: they bear the model's label, and come and go with rollouts."""
    namespace = version["metadata"]["namespace"]
    yield Ref("Deployment.apps", namespace, model=version["spec"]["modelName"])


async def observe(
    version: Object,
    view: View,
    outside: Any,  # noqa: ARG001 (protocol)
) -> Observed:
    """Which Deployments serve it: their apps/Deployments say so by label."""
    metadata = version["metadata"]
    labels = {
        contract.LABEL_COMPONENT: contract.COMPONENT_SERVER,
        contract.LABEL_MODEL_VERSION: metadata["name"],
    }
    servers = view.list("Deployment.apps", metadata["namespace"], labels)
    names = {server["metadata"]["labels"].get(contract.LABEL_DEPLOYMENT, "") for server in servers}
    return Observed(version, tuple(sorted(name for name in names if name)))


KIND = Kind(
    resource=MODEL_VERSIONS,
    children=(),
    references=references,
    observe=observe,
    plan=plan,
    watched_for=(APPS_DEPLOYMENTS, DEPLOYMENTS),
)
