"""Which versions a Deployment should serve, and with which weights: by list, or by rollout."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from everloop import contract
from everloop.api import conditions
from everloop.api.deployment import Rollout, VersionWeight
from everloop.api.modelversion import ModelVersion
from everloop.manifests.server import Served
from everloop.plans.clock import Clock
from everloop.plans.deployment_observed import Observed
from everloop.plans.gates import eligible as gates_passed
from everloop.plans.history import Record
from everloop.plans.rollout import POLL, Evidence, Outcome, Pass, Progress, Traffic


@dataclass(frozen=True)
class Decision:
    """What the spec wants now."""

    live: tuple[str, ...]  # versions to serve, the champion first
    target: dict[str, int]  # their weights
    champion: str | None = None
    progress: Progress | None = None
    record: Record | None = None  # a decision to write down
    message: str = ""  # what is under way; empty: nothing
    invalid: str = ""  # what in the spec cannot be
    look_at: datetime | None = None


def decide(observed: Observed, traffic: Traffic, now: datetime) -> Decision:
    """By the mode of the spec."""
    spec = observed.deployment.spec
    if spec.versions is not None:
        return _listed(observed, traffic, spec.versions, now)
    assert spec.rollout is not None, "the CRD lets through exactly one of versions and rollout"
    champion = observed.history.champion
    if champion is None:
        return _first(observed, traffic, now)
    served = observed.served(champion.version) or champion.served
    return _challenged(observed, traffic, spec.rollout, served, now)


# --- versions: every live version, by hand --------------------------------------------------------
def _listed(
    observed: Observed, traffic: Traffic, listed: list[VersionWeight], now: datetime
) -> Decision:
    model = observed.deployment.spec.model_name
    target = {entry.model_version: entry.weight for entry in listed}
    for name in target:
        version = observed.versions.get(name)
        if version is not None and version.spec.model_name != model:
            return Decision(
                live=tuple(observed.servers),
                target=dict(observed.requested or {}),
                champion=_before(observed),
                invalid=f"{name} is a version of {version.spec.model_name}; "
                f"list versions of {model} only",
            )
    champion = _heaviest(observed, traffic, target)
    settled = traffic.in_force == {name: weight for name, weight in target.items() if weight}
    record = None
    if settled and champion is not None and not _is_champion(observed, champion):
        served = observed.served(champion)
        if served is not None:
            record = observed.history.next(
                "Promotion",
                served,
                reason="Listed",
                message="the highest weight in spec.versions",
                now=now,
            )
    missing = [name for name in target if observed.served(name) is None]
    short = [name for name in target if name not in traffic.ready and name not in missing]
    waits = [f"{name} is not a ModelVersion here" for name in missing]
    waits += [_waiting(name, traffic) for name in short]
    if not waits and not settled:
        waits = ["waiting for the weights to be in force"]
    live = sorted(target, key=lambda name: (name != champion, -target[name], name))
    return Decision(
        live=tuple(live),
        target=target,
        champion=champion,
        record=record,
        message="; ".join(waits),
        look_at=now + POLL if record else None,
    )


def _heaviest(observed: Observed, traffic: Traffic, target: dict[str, int]) -> str | None:
    """The listed version with the highest weight, once it has traffic; until then who had it."""
    first = max(target, key=lambda name: target[name])  # of equals the first
    in_force = traffic.in_force or {}
    before = _before(observed)
    if in_force.get(first) or (traffic.in_force is None and before == first):
        return first
    if before is not None and before in observed.servers:
        return before
    return max(in_force, key=lambda name: in_force[name], default=None)


def _before(observed: Observed) -> str | None:
    """The champion until now: of a status that was lost the last promotion tells."""
    promoted = observed.history.champion
    return observed.deployment.status.champion or (promoted.version if promoted else None)


def _is_champion(observed: Observed, version: str) -> bool:
    champion = observed.history.champion
    return champion is not None and champion.version == version


# --- rollout: follow the model --------------------------------------------------------------------
def eligible(observed: Observed) -> list[ModelVersion]:
    """Versions that may challenge: valid, gates passed, never rejected; the newest first."""
    found = [
        version
        for version in observed.versions.values()
        if version.spec.model_name == observed.deployment.spec.model_name
        and version.metadata.deletion_timestamp is None
        and _registered(version)
        and gates_passed(version.spec.evaluation.gates if version.spec.evaluation else ())
        and not observed.history.rejected(version.metadata.name, version.spec.artifact.digest)
    ]
    return sorted(found, key=lambda version: -version.spec.version)


def _registered(version: ModelVersion) -> bool:
    status = {"conditions": [entry.to_dict() for entry in version.status.conditions]}
    return conditions.is_true(status, contract.READY)


def _first(observed: Observed, traffic: Traffic, now: datetime) -> Decision:
    """No champion yet: the newest eligible version gets everything once it is ready."""
    candidates = eligible(observed)
    model = observed.deployment.spec.model_name
    current = tuple(name for name, weight in (observed.requested or {}).items() if weight)
    if observed.deployment.spec.suspend:
        return Decision(current, dict(observed.requested or {}), message="held by spec.suspend")
    if not candidates:
        return Decision(
            current,
            dict(observed.requested or {}),
            message=f"waiting for an eligible version of {model}",
        )
    served = Served.of(candidates[0])
    target = {served.name: 100}
    if traffic.in_force != target or served.name not in traffic.ready:
        return Decision((served.name,), target, message=_waiting(served.name, traffic))
    record = observed.history.next(
        "Promotion",
        served,
        reason="FirstVersion",
        message=f"the first version of {model} here",
        now=now,
    )
    return Decision((served.name,), target, record=record, message="ready", look_at=now + POLL)


def _challenged(
    observed: Observed, traffic: Traffic, spec: Rollout, champion: Served, now: datetime
) -> Decision:
    """There is a champion; a newer eligible version goes through the steps."""
    status, suspended = observed.deployment.status, observed.deployment.spec.suspend
    newer = [item for item in eligible(observed) if item.spec.version > champion.number]
    challenger = Served.of(newer[0]) if newer else None
    if suspended:
        known = {item.metadata.name: item for item in newer}
        going = known.get(status.challenger or "")
        challenger = Served.of(going) if going else None
    if challenger is None:
        return Decision((champion.name,), {champion.name: 100}, champion=champion.name)
    progress = _progress(observed, champion.name, challenger.name, len(spec.steps))
    look = Pass(spec, champion.name, traffic, Clock.of(observed.settings), now)
    if suspended:
        outcome = look.hold(progress)
    else:
        fresh = progress.started is None
        outcome = look.advance(progress, Evidence() if fresh else observed.evidence)
    return Decision(
        live=(champion.name, challenger.name),
        target=outcome.target,
        champion=champion.name,
        progress=outcome.progress,
        record=_record(observed, challenger, outcome, now),
        message=outcome.message,
        look_at=outcome.look_at,
    )


def _progress(observed: Observed, champion: str, challenger: str, steps: int) -> Progress:
    """Where the rollout was; at its beginning for another challenger, or against another champion.

    Steps that were taken away by an edit are not steps that were passed.
    """
    status = observed.deployment.status
    if status.challenger != challenger or status.champion != champion or status.step is None:
        return Progress(challenger)
    edited = status.observed_generation != observed.deployment.metadata.generation
    if status.step > steps or (edited and status.step == steps):
        return Progress(challenger)
    started = parse_time(status.step_started) if status.step_started else None
    return Progress(challenger, status.step, started, tuple(status.verdicts or ()))


def _record(
    observed: Observed, challenger: Served, outcome: Outcome, now: datetime
) -> Record | None:
    if outcome.decision is None:
        return None
    return observed.history.next(
        "Promotion" if outcome.decision == "Promote" else "Rejection",
        challenger,
        reason=outcome.reason,
        message=outcome.message,
        now=now,
        verdicts=outcome.progress.verdicts,
    )


def _waiting(version: str, traffic: Traffic) -> str:
    if version in traffic.usable:
        return f"waiting for the weight of {version} to be in force"
    if version in traffic.ready and version not in traffic.down_since:
        return f"waiting for the routers to reach {version}"
    trouble = traffic.trouble.get(version)
    return f"waiting for the servers of {version}" + (f": {trouble}" if trouble else "")


def parse_time(text: str) -> datetime:
    """A time as Kubernetes writes it."""
    return datetime.fromisoformat(text).astimezone(UTC)
