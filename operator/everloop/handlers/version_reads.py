"""What registering a run's model depends on, for runs by themselves and for searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from everloop import contract
from everloop.cluster import objects
from everloop.cluster.index import REGISTERED
from everloop.handlers.kind import Object, View
from everloop.plans.registration import Versions, registered_version


async def read_versions(run: Object, report: Object | None, view: View, outside: Any) -> Versions:
    """All that is known of the version of a run's report."""
    if report is None or registered_version(report):
        return Versions()
    known = (run.get("status") or {}).get("modelVersion")
    made = version_made_from(run, view) or await unseen_version(run, known, outside)
    if made is not None or known:
        return Versions(made, known)
    return Versions(taken=taken_version_names(run["metadata"]["namespace"], view))


async def unseen_version(run: Object, known: str | None, outside: Any) -> Object | None:
    """The run's version that a status knows and the cache does not, unless it was deleted.

    The report of one that was deleted is marked for ever.
    """
    if not known:
        return None
    live = await outside.kube.get(
        contract.API_VERSION, "ModelVersion", run["metadata"]["namespace"], known
    )
    return live if live is not None and is_made_from(run, live) else None


def is_made_from(run: Object, version: Object) -> bool:
    """Whether the version says so: by its run's uid, which is nobody else's."""
    provenance = version["spec"].get("provenance") or {}
    return bool(provenance.get("runUid") == objects.uid(run))


def version_made_from(run: Object, view: View) -> Object | None:
    """The ModelVersion that was made from this very run; a copy of it says the same of itself."""
    model = run["spec"]["modelName"]
    found = [
        item for item in view.children("ModelVersion", run) if item["spec"]["modelName"] == model
    ]
    return min(found, key=_likeness, default=None)


def _likeness(version: Object) -> tuple[bool, int]:
    return not objects.made_by_us(version), version["spec"]["version"]


def taken_version_names(namespace: str, view: View) -> Sequence[str]:
    """Names that no new ModelVersion may have: of those there are, and of those there were."""
    return (
        *view.names("ModelVersion", namespace),
        *view.values("ConfigMap", namespace, contract.ANNOTATION_REGISTERED),
        *view.values("TrainingRun", namespace, REGISTERED),
    )
