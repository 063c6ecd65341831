"""ModelVersion: what it observes. What it says of itself is plans/modelversion.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from everloop import contract
from everloop.handlers.kind import Kind, Object, Ref, View
from everloop.handlers.resources import APPS_DEPLOYMENTS, DEPLOYMENTS, MODEL_VERSIONS
from everloop.manifests.server import server_name
from everloop.plans.modelversion import Observed, plan


def references(version: Object) -> Iterable[Ref]:
    """The servers of its model: they bear the model's label, and come and go with rollouts."""
    namespace = version["metadata"]["namespace"]
    yield Ref("Deployment.apps", namespace, model=version["spec"]["modelName"])


async def observe(version: Object, view: View, outside: Any) -> Observed:
    """Which Deployments serve it: their apps/Deployments say so by label."""
    metadata = version["metadata"]
    labels = {
        contract.LABEL_COMPONENT: contract.COMPONENT_SERVER,
        contract.LABEL_MODEL_VERSION: metadata["name"],
    }
    servers = view.list("Deployment.apps", metadata["namespace"], labels)
    owners = {item["metadata"]["name"]: _deployment(item) for item in servers}
    number = version["spec"]["version"]
    names = {owner for name, owner in owners.items() if name == server_name(owner, number)}
    if not names and metadata.get("deletionTimestamp"):
        names = await _read(version, outside)
    return Observed(version, tuple(sorted(name for name in names if name)))


def _deployment(server: Object) -> str:
    """Whose server it says it is; a copy says so, too, under another name."""
    return str(server["metadata"]["labels"].get(contract.LABEL_DEPLOYMENT, ""))


async def _read(version: Object, outside: Any) -> set[str]:
    """Those that status knows and the cache does not: gone, or too new for it.

    A version that is let go in error is lost while it serves.
    """
    metadata = version["metadata"]
    found: set[str] = set()
    number = metadata["name"].rpartition("-v")[2]
    if not number.isdigit():
        return found  # it was made by hand, under a name that no Deployment serves
    for name in (version.get("status") or {}).get("servedBy") or ():
        server = await outside.kube.get(
            APPS_DEPLOYMENTS.api_version,
            APPS_DEPLOYMENTS.kind,
            metadata["namespace"],
            server_name(name, int(number)),
        )
        labels = server["metadata"].get("labels") or {} if server is not None else {}
        if labels.get(contract.LABEL_MODEL_VERSION) == metadata["name"]:
            found.add(name)
    return found


KIND = Kind(
    resource=MODEL_VERSIONS,
    children=(),
    references=references,
    observe=observe,
    plan=plan,
    watched_for=(APPS_DEPLOYMENTS, DEPLOYMENTS),
    reads_own_status=False,
)
