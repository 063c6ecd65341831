"""The TrainingRun that a Monitor makes from its champion's own spec, and the decision's record."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from everloop import contract
from everloop.api.base import first_problem
from everloop.api.conditions import timestamp
from everloop.api.modelversion import ModelVersion
from everloop.api.monitor import Monitor
from everloop.api.trainingrun import TrainingRunSpec
from everloop.manifests.meta import meta


def retraining_name(monitor: str, version: int, number: int) -> str:
    """The name of a Monitor's run: its n-th for this version of the model."""
    return f"{monitor}-{version}-{number}"


def retraining_numbers(monitor: str, name: str) -> tuple[int, int] | None:
    """Version and number in the name of a Monitor's run; None if the name is not of one.

    >>> retraining_numbers("flights", "flights-3-1")
    (3, 1)
    >>> retraining_numbers("flights", "flights-mine"), retraining_numbers("flights", "flights-3-01")
    (None, None)
    """
    match = re.fullmatch(re.escape(monitor) + r"-([1-9][0-9]{0,4})-([1-9][0-9]{0,8})", name)
    return (int(match[1]), int(match[2])) if match else None


def decision_name(run: str) -> str:
    """The name of the record that a run was decided."""
    return contract.child_name(run, "decision")


def read_run_spec(champion: ModelVersion) -> TrainingRunSpec | str:
    """What a version's run was, to be made again; or why it cannot be, for people."""
    name, provenance = champion.metadata.name, champion.spec.provenance
    if provenance is None or provenance.run_spec is None:
        return f"{name} has no spec.provenance.runSpec to repeat: train it by a TrainingRun"
    try:
        return TrainingRunSpec.model_validate(provenance.run_spec)
    except ValidationError as error:
        problem = first_problem(error, "spec", "provenance", "runSpec")
        return f"{name} has no run to repeat: {problem}; train it by a TrainingRun"


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
            decision_name(run),
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
