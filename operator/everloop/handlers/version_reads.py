"""What registering a run's model depends on, for runs by themselves and for searches."""

from __future__ import annotations

from collections.abc import Sequence

from everloop import contract
from everloop.handlers.kind import Object, View


def version_made_from(run: Object, view: View) -> Object | None:
    """The ModelVersion that was made from this very run."""
    model = run["spec"]["modelName"]
    found = view.children("ModelVersion", run)
    return next((item for item in found if item["spec"]["modelName"] == model), None)


def taken_version_names(namespace: str, view: View) -> Sequence[str]:
    """Names that no new ModelVersion may have: of those there are, and of those there were."""
    registered = view.values("ConfigMap", namespace, contract.ANNOTATION_REGISTERED)
    return (*view.names("ModelVersion", namespace), *registered)
