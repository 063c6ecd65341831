"""What a Deployment says of itself: status, conditions, and the events of what changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from everloop import contract
from everloop.api.conditions import Condition, condition, merge, timestamp
from everloop.api.deployment import (
    DeploymentStatus,
    RejectedVersion,
    TrafficShare,
    Verdict,
)
from everloop.plans.deployment_modes import Decision
from everloop.plans.deployment_observed import Observed
from everloop.plans.plan import Event
from everloop.plans.rollout import Progress, Traffic, describe

MAX_TRAFFIC, MAX_REJECTED, MAX_VERDICTS, MAX_TEXT = 8, 32, 64, 1024


def status_and_events(
    observed: Observed, decision: Decision, traffic: Traffic, now: datetime
) -> tuple[dict[str, Any], tuple[Event, ...], dict[str, int]]:
    """The whole status, what to tell, and what to count."""
    deployment = observed.deployment
    generation = deployment.metadata.generation
    progress = decision.progress
    shares = _traffic(observed, decision, traffic)
    ready = _ready(observed, decision, shares)
    wanted = [
        ready,
        _reconciling(decision),
        _stalled(decision),
        _suspended(observed),
    ]
    status = DeploymentStatus(
        observed_generation=generation,
        phase=_phase(observed, decision, ready),
        url=url(
            deployment.metadata.name, deployment.metadata.namespace, deployment.spec.model_name
        ),
        champion=decision.champion,
        challenger=progress.challenger if progress else None,
        step=progress.step if progress else None,
        step_started=timestamp(progress.started) if progress and progress.started else None,
        traffic=shares or None,
        verdicts=_verdicts(observed, progress) or None,
        rejected=_rejected(observed) or None,
    )
    document = status.to_dict()
    document["conditions"] = merge(observed.conditions_as_dicts, wanted, generation, now)
    events, counters = _events(observed, status, progress)
    return document, events, counters


def url(name: str, namespace: str, model: str) -> str:
    """Where clients send V2 requests.

    >>> url("flights", "ml", "flights")
    'http://flights.ml.svc/v2/models/flights/infer'
    """
    return f"http://{name}.{namespace}.svc/v2/models/{model}/infer"


def _traffic(observed: Observed, decision: Decision, traffic: Traffic) -> list[TrafficShare]:
    """Weights as the routers say; while they don't all say the same, as they last did."""
    before = {
        share.model_version: share.weight for share in observed.deployment.status.traffic or ()
    }
    weights: Mapping[str, int] = traffic.in_force if traffic.in_force is not None else before
    names = dict.fromkeys((*decision.live, *sorted(weights)))
    challenger = decision.progress.challenger if decision.progress else None
    shares = []
    for name in names:
        server = observed.servers.get(name)
        if server is None and not weights.get(name):
            continue
        if name not in decision.live and not weights.get(name):
            continue
        shares.append(
            TrafficShare(
                model_version=name,
                weight=weights.get(name, 0),
                ready_replicas=server.ready if server else 0,
                role="Champion"
                if name == decision.champion
                else "Challenger"
                if name == challenger
                else "Listed",
            )
        )
    return shares[:MAX_TRAFFIC]


def _verdicts(observed: Observed, progress: Progress | None) -> list[Verdict]:
    """Of the rollout under way, or of the last: in the status, else in the history."""
    if progress is not None:
        return list(progress.verdicts)[-MAX_VERDICTS:]
    last = next((record for record in reversed(observed.history.records) if record.verdicts), None)
    return list(last.verdicts if last else observed.deployment.status.verdicts or ())[
        -MAX_VERDICTS:
    ]


def _rejected(observed: Observed) -> list[RejectedVersion]:
    return [
        RejectedVersion(
            model_version=record.version,
            reason=record.reason,
            message=record.message[:MAX_TEXT],
            time=record.time,
        )
        for record in observed.history.rejections[:MAX_REJECTED]
    ]


def _ready(observed: Observed, decision: Decision, shares: list[TrafficShare]) -> Condition:
    """Ready is what clients feel: the champion answers. A rollout or a bad challenger is not."""
    champion = decision.champion
    if decision.invalid:
        return condition(contract.READY, False, contract.REASON_INVALID_SPEC, decision.invalid)
    if champion is None:
        reason = "Suspended" if observed.deployment.spec.suspend else contract.REASON_NO_CHAMPION
        return condition(contract.READY, False, reason, decision.message)
    obstacle = _obstacle(observed, decision, champion, shares)
    if obstacle is not None:
        return condition(contract.READY, False, *obstacle)
    version = observed.versions.get(champion)
    if version is not None and version.metadata.deletion_timestamp is None:
        return condition(contract.READY, True, "ChampionServes", f"{champion} serves")
    how = "is gone" if version is None else "is being deleted"
    message = f"{champion} serves, but its ModelVersion {how}; new servers need its artifact still"
    return condition(contract.READY, True, "ModelVersionMissing", message)


def _obstacle(
    observed: Observed, decision: Decision, champion: str, shares: list[TrafficShare]
) -> tuple[str, str] | None:
    """What keeps a champion from serving, as reason and message: the first that holds."""
    traffic = observed.traffic
    trouble = traffic.trouble.get(champion)
    others = [share.model_version for share in shares if share.ready_replicas and share.weight]
    down = f"no server of {champion} is ready" + (f": {trouble}" if trouble else "")
    if others:
        down += f"; its traffic goes to {', '.join(others)}"
    # A rollout may give all the traffic to the challenger before it promotes it.
    expected = {name for name, weight in decision.target.items() if weight}
    wanted = {champion} if champion in expected else {champion, *expected}
    served = any(share.model_version in wanted and share.weight for share in shares)
    checks = (
        (
            observed.deployment.spec.runtime.replicas == 0,
            "ScaledToZero",
            "spec.runtime.replicas is 0: nothing serves",
        ),
        (champion not in traffic.ready, "ChampionNotReady", down),
        (
            not observed.ready_routers,
            "RouterNotReady",
            "no router is ready: see the pods labelled everloop.dev/component=router",
        ),
        # Before the first weight, or right after a failover.
        (not served, "TrafficMoving", f"{champion} is ready, its traffic is on its way"),
    )
    return next(((reason, message) for holds, reason, message in checks if holds), None)


def _reconciling(decision: Decision) -> Condition:
    if decision.progress is not None:
        message = f"{decision.progress.challenger}: {decision.message}"
        return condition(contract.RECONCILING, True, "RolloutInProgress", message)
    if decision.message and not decision.invalid:
        return condition(contract.RECONCILING, True, "Progressing", decision.message)
    return condition(contract.RECONCILING, False, "Settled")


def _stalled(decision: Decision) -> Condition:
    if decision.invalid:
        return condition(contract.STALLED, True, contract.REASON_INVALID_SPEC, decision.invalid)
    return condition(contract.STALLED, False, "NotStalled")


def _suspended(observed: Observed) -> Condition:
    if observed.deployment.spec.suspend:
        message = "rollouts are held where they are; traffic goes on"
        return condition(contract.SUSPENDED, True, "SpecSuspend", message)
    return condition(contract.SUSPENDED, False, "NotSuspended")


def _phase(observed: Observed, decision: Decision, ready: Condition) -> str:
    if decision.invalid:
        return "Invalid"
    if observed.deployment.spec.suspend:
        return "Suspended"
    if ready.status != "True":
        return "Pending" if decision.champion is None else "Degraded"
    if decision.progress is not None:
        return "RollingOut"
    return "Moving" if decision.message else "Serving"


def _events(
    observed: Observed, status: DeploymentStatus, progress: Progress | None
) -> tuple[tuple[Event, ...], dict[str, int]]:
    """What changed since the status as it is; a Deployment without status has just been applied."""
    before = observed.deployment.status
    events: list[Event] = []
    counters: dict[str, int] = {}
    if before.observed_generation < 0:
        return (), {}
    if status.champion and status.champion != before.champion:
        record = observed.history.champion
        why = "Listed: the highest weight in spec.versions"  # recorded once it is in force
        if record is not None and record.version == status.champion:
            why = f"{record.reason}: {record.message}"
        events.append(Event("Promoted", f"{status.champion} is champion ({why})"))
        counters["promotions"] = 1
    known = {item.model_version for item in before.rejected or ()}
    for item in status.rejected or ():
        if item.model_version not in known:
            message = f"{item.model_version} is rejected ({item.reason}: {item.message})"
            events.append(Event("Rejected", message, "Warning"))
            counters["rejections"] = counters.get("rejections", 0) + 1
    rollout = observed.deployment.spec.rollout
    if progress is not None and rollout is not None and progress.step < len(rollout.steps):
        moved = (progress.challenger, progress.step) != (before.challenger, before.step)
        if moved:
            where = describe(rollout.steps, progress.step)
            events.append(Event("StepStarted", f"{progress.challenger}: {where}"))
    return tuple(events), counters
