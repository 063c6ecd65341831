"""The conditions of a Monitor: whether it can see what it is asked to watch, and what to do if not.

Drift never unsets Ready: a Monitor that sees drift works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from everloop import contract
from everloop.api.conditions import Condition, condition, find
from everloop.api.monitor import SignalStatus
from everloop.manifests.health_rules import TARGETS_DOWN
from everloop.manifests.rules import HEALTH, group_kind, rules_name
from everloop.manifests.rules_clock import RulesClock
from everloop.plans.monitor_observed import Observed

UNAVAILABLE = "PrometheusUnavailable"
RUN_STALLED = "RunStalled"
LONGEST_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Standing:
    """How the Monitor stands with Prometheus."""

    loaded: Condition
    targets: Condition
    evaluated: frozenset[str] = frozenset()  # groups that were: their silence means something


def standing(observed: Observed, wanted: set[str]) -> Standing:
    """RulesLoaded and TargetsUp, for the rule groups in force."""
    watch = observed.watch
    if observed.deployment is None:
        name = observed.monitor.spec.deployment
        reason, message = "DeploymentNotFound", f"there is no Deployment (mldep) {name}"
        return _neither(None, reason, message)
    if observed.champion is None:
        reason = contract.REASON_NO_CHAMPION
        return _neither(None, reason, "the Deployment serves no champion yet")
    if watch is None:
        message = "the chart's prometheus.url is empty: set it to the URL of your Prometheus"
        return _neither(False, "NoPrometheus", message)
    if watch.error:
        return _neither(None, UNAVAILABLE, watch.error)
    seen = {group.name: group for group in watch.groups}
    missing = sorted(wanted - set(seen))
    if missing:
        loaded = condition(contract.RULES_LOADED, False, "NotLoaded", _not_loaded(observed))
        return Standing(loaded, _targets(observed, None, evaluated=False))
    errors = [error for name in sorted(wanted) for error in seen[name].errors]
    if errors:
        loaded = condition(contract.RULES_LOADED, False, "EvaluationFailed", errors[0])
    else:
        loaded = condition(contract.RULES_LOADED, True, "Loaded")
    evaluated = frozenset(group_kind(name) for name in wanted if seen[name].evaluated)
    down = watch.one(TARGETS_DOWN, model_version=observed.champion.metadata.name)
    return Standing(loaded, _targets(observed, down, HEALTH in evaluated), evaluated)


def conditions(observed: Observed, state: Standing) -> list[Condition]:
    """All conditions; Ready takes the reason of the first thing that is not well."""
    suspended = observed.monitor.spec.suspend
    blocking = [item for item in (state.loaded, state.targets) if item.status != "True"]
    result = [state.loaded, state.targets]
    for extra in (_retention(observed), _monitorable(observed)):
        if extra is not None:
            result.append(extra)
            blocking += [extra] if extra.status != "True" else []
    stuck = _stalled_run(observed)
    if stuck is not None:
        result.append(stuck)
        blocking.insert(0, stuck)
    waiting = bool(blocking) and blocking[0].reason not in ("NoPrometheus", RUN_STALLED)
    reason = blocking[0].reason if blocking else "Watching"
    message = blocking[0].message if blocking else ""
    return [
        *result,
        condition(contract.READY, not blocking, reason, message),
        condition(contract.RECONCILING, waiting, reason),
        condition(
            contract.SUSPENDED,
            suspended,
            "Suspended" if suspended else "Active",
            "spec.suspend is true: it watches and makes no run" if suspended else "",
        ),
    ]


def phase(observed: Observed, state: Standing, signals: Sequence[SignalStatus]) -> str:
    """One word for the column."""
    firing = [item.name for item in signals if item.state == "Firing"]
    if firing:
        return str(firing[0])
    if observed.champion is None:
        return "Waiting"
    if state.loaded.status != "True":
        return "Loading" if state.loaded.reason == "NotLoaded" else "Blind"
    return "Suspended" if observed.monitor.spec.suspend else "Watching"


def retry_at(observed: Observed, state: Standing, now: datetime) -> datetime | None:
    """When to ask Prometheus again: as long as it has been wrong already, 1 to 60 seconds.

    The poller wakes a Monitor when something changed; this is for what it can't see.
    """
    if observed.champion is None or observed.watch is None:
        return None
    if state.loaded.status == "True" and HEALTH in state.evaluated:
        return None
    old = find(dict(observed.raw_status), contract.RULES_LOADED)
    since = (
        datetime.fromisoformat(old["lastTransitionTime"])
        if old is not None and old["status"] == state.loaded.status
        else now
    )
    shortest = min(observed.settings.poll_interval_seconds, LONGEST_RETRY_SECONDS)
    waited = (now - since).total_seconds()
    return now + timedelta(seconds=max(shortest, min(waited, LONGEST_RETRY_SECONDS)))


def _stalled_run(observed: Observed) -> Condition | None:
    """A run that cannot go on keeps others from being made until a person looks at it."""
    for run in observed.runs:
        if run.problem and not run.finished:
            message = (
                f"TrainingRun {run.name} cannot go on, and no other is made meanwhile:"
                f" {run.problem}; delete it once that is mended"
            )
            return condition(contract.STALLED, True, RUN_STALLED, message)
    return None


def _neither(status: bool | None, reason: str, message: str) -> Standing:
    return Standing(
        condition(contract.RULES_LOADED, status, reason, message),
        condition(contract.TARGETS_UP, None, reason, message),
    )


def _not_loaded(observed: Observed) -> str:
    name = rules_name(observed.monitor.metadata.name)
    if not observed.prometheus_operator:
        return (
            f"Prometheus does not have the rules of ConfigMap {name}: mount it there and list it"
            " under rule_files"
        )
    return (
        f"Prometheus has not loaded PrometheusRule {name}; if that lasts, its ruleSelector or"
        " ruleNamespaceSelector does not select it: see the chart's prometheus.labels"
    )


def _targets(observed: Observed, down: float | None, evaluated: bool) -> Condition:
    if down is None:
        reason = "NoTargets" if evaluated else "NotEvaluated"
        message = (
            f"Prometheus scrapes no pod of {observed.monitor.spec.deployment}: does it select our"
            " PodMonitor (podMonitorSelector, the chart's prometheus.labels)?"
            if evaluated
            else "the rules were not evaluated yet"
        )
        return condition(contract.TARGETS_UP, False if evaluated else None, reason, message)
    if down > 0:
        message = "pods of the champion or of the routers do not answer scrapes: see `up`"
        return condition(contract.TARGETS_UP, False, "TargetsDown", message)
    return condition(contract.TARGETS_UP, True, "Up")


def _retention(observed: Observed) -> Condition | None:
    """Two successive windows are compared, so Prometheus has to keep two of them."""
    spec, watch = observed.monitor.spec, observed.watch
    if watch is None or watch.retention is None or (spec.inputs is None and spec.outputs is None):
        return None
    needed = 2 * RulesClock.of(spec, observed.settings).window
    if watch.retention >= needed:
        return condition(contract.RETENTION_SUFFICIENT, True, "Sufficient")
    return condition(
        contract.RETENTION_SUFFICIENT,
        False,
        "RetentionTooShort",
        f"Prometheus keeps {watch.retention:g}s and drift over {spec.window} compares"
        f" {needed:g}s: raise its retention, or write a shorter spec.window",
    )


def _monitorable(observed: Observed) -> Condition | None:
    """Drift needs the champion's reference."""
    spec, champion = observed.monitor.spec, observed.champion
    if champion is None or (spec.inputs is None and spec.outputs is None):
        return None
    if champion.spec.profile is not None:
        return condition(contract.MONITORABLE, True, "Profiled")
    return condition(
        contract.MONITORABLE,
        False,
        "NoProfile",
        f"{champion.metadata.name} has no profile, so its drift cannot be measured: let the step"
        f" with role: Evaluate write {contract.REFERENCE_NAME}",
    )
