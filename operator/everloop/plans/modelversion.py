"""What a ModelVersion says of itself: eligible, monitorable, served by whom; kept while served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from everloop import contract
from everloop.api.conditions import Condition, condition, find, merge
from everloop.api.modelversion import ModelVersion, ModelVersionStatus
from everloop.plans.gates import eligible, explain
from everloop.plans.plan import Event, Plan

LOOK_AGAIN = timedelta(seconds=30)  # while a deletion waits: who served may go unseen


@dataclass(frozen=True)
class Observed:
    """A version as read, and the names of the Deployments (mldep) whose servers it has."""

    version: Mapping[str, Any]
    served_by: tuple[str, ...]


def plan(observed: Observed, now: datetime) -> Plan:
    """Status, and the finalizer that keeps the version while it serves."""
    version = ModelVersion.model_validate(observed.version)
    before = observed.version.get("status") or {}
    conditions = [_ready(version, observed.served_by), _eligible(version), _monitorable(version)]
    status = ModelVersionStatus(
        observed_generation=version.metadata.generation,
        phase=_phase(version, observed.served_by, conditions[1]),
        served_by=list(observed.served_by) or None,
    ).to_dict()
    generation = version.metadata.generation
    leaving = version.metadata.deletion_timestamp is not None
    status["conditions"] = merge(before.get("conditions"), conditions, generation, now)
    return Plan(
        status=status,
        events=_events(before, status),
        finalizers=(contract.FINALIZER_SERVED,) if observed.served_by else (),
        requeue_at=now + LOOK_AGAIN if leaving and observed.served_by else None,
    )


def _ready(version: ModelVersion, served_by: tuple[str, ...]) -> Condition:
    if version.metadata.deletion_timestamp is None:
        return condition(contract.READY, True, "Registered", "the version is registered")
    if not served_by:
        return condition(contract.READY, False, "Terminating", "the version is being deleted")
    return condition(
        contract.READY,
        False,
        "StillServed",
        f"the version is deleted once no Deployment serves it: {', '.join(served_by)} does; "
        "take it out of spec.versions, or let its rollout replace it",
    )


def _eligible(version: ModelVersion) -> Condition:
    gates = version.spec.evaluation.gates if version.spec.evaluation else []
    if eligible(gates):
        message = "all gates hold" if gates else "there were no gates"
        return condition(contract.ELIGIBLE, True, "GatesHold", message)
    unmet = [gate for gate in gates if gate.verdict in (contract.FAIL, contract.INCONCLUSIVE)]
    reason = (
        "GateFailed" if any(gate.verdict == contract.FAIL for gate in gates) else "Inconclusive"
    )
    return condition(contract.ELIGIBLE, False, reason, explain(unmet))


def _monitorable(version: ModelVersion) -> Condition:
    if version.spec.profile is not None:
        return condition(contract.MONITORABLE, True, "Profiled", "the version has a profile")
    why = version.metadata.annotations.get(
        contract.ANNOTATION_NOT_MONITORABLE, "spec.profile is absent"
    )
    message = f"drift cannot be measured: {why}"
    return condition(contract.MONITORABLE, False, "NoProfile", message)


def _phase(version: ModelVersion, served_by: tuple[str, ...], can_roll_out: Condition) -> str:
    if version.metadata.deletion_timestamp is not None:
        return "Terminating"
    if served_by:
        return "Serving"
    return "Registered" if can_roll_out.status == "True" else "NotEligible"


def _events(before: Mapping[str, Any], after: dict[str, Any]) -> tuple[Event, ...]:
    """Why a deletion waits, once."""
    old, new = find(dict(before), contract.READY), find(after, contract.READY)
    if new is None or new["reason"] != "StillServed":
        return ()
    if old and old.get("reason") == "StillServed":
        return ()
    return (Event("StillServed", new["message"], "Warning"),)
