"""The TrainingRun that a Monitor makes from its champion's own spec, and the decision's record."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from everloop import contract
from everloop.api.conditions import timestamp
from everloop.api.modelversion import ModelVersion
from everloop.api.monitor import Monitor
from everloop.api.trainingrun import TrainingRunSpec
from everloop.manifests.meta import meta


def build_retraining(
    monitor: Monitor,
    champion: ModelVersion,
    run_spec: TrainingRunSpec,
    *,
    name: str,
    trigger: dict[str, Any],
    arrived_after: datetime,
) -> dict[str, Any]:
    """The champion's run again, on what the data sets hold now, with the Monitor's overrides.

    Digests that pin data are dropped: the point is to read newer data. Not owned by the Monitor:
    deleting it must not delete what was trained.
    """
    spec = run_spec.model_copy(update={"suspend": False}).to_dict()
    spec.pop("newData", None)
    for data in spec.get("data", []):
        data.pop("digest", None)
    retrain = monitor.spec.retrain
    if retrain is not None and retrain.new_data is not None:
        spec["newData"] = {
            "minRows": retrain.new_data.min_rows,
            "arrivedAfter": timestamp(arrived_after),
        }
    if retrain is not None and retrain.overrides is not None:
        changes = retrain.overrides.to_dict()
        parameters = changes.pop("parameters", {})
        spec |= changes
        spec["parameters"] = {**spec.get("parameters", {}), **parameters}
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "TrainingRun",
        "metadata": meta(
            name,
            monitor.metadata.namespace,
            contract.COMPONENT_RETRAINING,
            labels={
                contract.LABEL_MODEL: champion.spec.model_name,
                contract.LABEL_MONITOR: monitor.metadata.name,
            },
            annotations={contract.ANNOTATION_TRIGGER: json.dumps(trigger)},
        ),
        "spec": spec,
    }


def build_decision(
    monitor: Monitor, model: str, *, run: str, number: int, trigger: dict[str, Any], time: str
) -> dict[str, Any]:
    """The record that this run was decided: it outlives the run and the Monitor's status."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": meta(
            contract.child_name(run, "decision"),
            monitor.metadata.namespace,
            contract.COMPONENT_HISTORY,
            labels={
                contract.LABEL_MODEL: model,
                contract.LABEL_MONITOR: monitor.metadata.name,
            },
        ),
        "revision": number,
        "data": {"schema": 1, "type": "Retraining", "run": run, "time": time, "trigger": trigger},
    }
