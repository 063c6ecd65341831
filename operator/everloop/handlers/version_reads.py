"""What registering a run's model depends on, for runs by themselves and for searches."""

from __future__ import annotations

from collections.abc import Sequence

from everloop import contract
from everloop.cluster import objects
from everloop.cluster.index import REGISTERED
from everloop.handlers.kind import Object, View
from everloop.plans.registration import Versions, registered_version


def read_versions(run: Object, report: Object | None, view: View) -> Versions:
    """All that is known of the version of a run's report."""
    if report is None or registered_version(report):
        return Versions()
    made = version_made_from(run, view)
    known = (run.get("status") or {}).get("modelVersion")
    if made is not None or known:
        return Versions(made, known)
    return Versions(taken=taken_version_names(run["metadata"]["namespace"], view))


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
