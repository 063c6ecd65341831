"""What a Monitor wants to exist: rules for the champion of now, and a TrainingRun when needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from everloop.api.conditions import merge, timestamp
from everloop.api.monitor import MonitorStatus, RetrainRecord
from everloop.manifests.promql import number
from everloop.manifests.retraining import build_decision, build_retraining, read_run_spec
from everloop.manifests.rules import (
    build_prometheus_rule,
    build_rules_config_map,
    rule_groups,
)
from everloop.plans.monitor_conditions import Standing, conditions, phase, retry_at, standing
from everloop.plans.monitor_observed import Observed, SeenRun
from everloop.plans.plan import Child, Deletion, Event, Mode, OnConflict, Plan
from everloop.plans.retrain import (
    MANUAL,
    Decision,
    Need,
    cooldown_end,
    count_refusal,
    decide,
    run_name,
    trigger,
)
from everloop.plans.signals import current_alerts, signal_states


@dataclass(frozen=True)
class _Retraining:
    """The objects of a decision to retrain."""

    record: RetrainRecord
    children: tuple[Child, ...]


def plan(observed: Observed, now: datetime) -> Plan:
    """Rules, status, and at most one new TrainingRun."""
    monitor, champion = observed.monitor, observed.champion
    groups = (
        rule_groups(monitor, champion.metadata.name, observed.settings)
        if champion is not None
        else []
    )
    names = {group["name"] for group in groups}
    state = standing(observed, names)
    alerts = current_alerts(observed, names)
    signals = signal_states(observed, alerts, state.evaluated, now)
    decision = decide(observed, alerts, now)
    made = _retraining(observed, decision, now)
    cooling = cooldown_end(observed)
    before = monitor.status
    wanted = conditions(observed, state)

    def status_with(last: RetrainRecord | None) -> dict[str, Any]:
        status = MonitorStatus(
            observed_generation=monitor.metadata.generation,
            phase=phase(observed, state, signals),
            champion=champion.metadata.name if champion else None,
            clock_speedup=_speedup(observed),
            signals=signals or None,
            last_retrain=last,
            next_allowed_retrain=timestamp(cooling) if cooling else None,
            refusals=count_refusal(before.refusals, decision, now),
        ).to_dict()
        status["conditions"] = merge(
            observed.raw_status.get("conditions"), wanted, monitor.metadata.generation, now
        )
        return status

    last = _last_retrain(observed)
    return Plan(
        children=(
            *_rules(observed),
            *(made.children if made else ()),
            *_missing_records(observed),
        ),
        deletions=_obsolete_rules(observed),
        status=status_with(made.record if made else last),
        unmade=status_with(last) if made else None,
        events=_events(observed, decision, made),
        requeue_at=_requeue(observed, state, decision, now),
    )


def _rules(observed: Observed) -> list[Child]:
    if observed.champion is None:
        return []
    build = build_prometheus_rule if observed.prometheus_operator else build_rules_config_map
    rules = build(observed.monitor, observed.champion.metadata.name, observed.settings)
    return [Child(rules, apart=True)]


def _obsolete_rules(observed: Observed) -> tuple[Deletion, ...]:
    """Rules of the other kind, and all of them where there is no champion to follow.

    A Deployment that says nothing yet, as one whose status was lost, may have a champion still: to
    take its rules away for a moment would end every alert, and begin its time anew.
    """
    deployment = observed.deployment
    silent = deployment is not None and deployment.status.observed_generation < 0
    none = observed.champion is None and not silent
    kept = "PrometheusRule" if observed.prometheus_operator else "ConfigMap"
    return tuple(
        Deletion(
            api_version=item["apiVersion"],
            kind=item["kind"],
            namespace=item["metadata"]["namespace"],
            name=item["metadata"]["name"],
            uid=item["metadata"]["uid"],
        )
        for item in observed.rules
        if none or item["kind"] != kept
    )


def _retraining(observed: Observed, decision: Decision, now: datetime) -> _Retraining | None:
    champion, need = observed.champion, decision.need
    if decision.number is None or need is None or champion is None:
        return None
    run_spec = read_run_spec(champion)
    if isinstance(run_spec, str):  # decide() refuses these
        return None
    monitor = observed.monitor
    name = run_name(observed, decision.number)
    why = trigger(observed, need)
    last = monitor.status.last_retrain
    # while the cache has not seen the run, the same decision is made again and says the same
    time = last.time if last is not None and last.run == name else timestamp(now)
    run = build_retraining(
        monitor,
        champion,
        run_spec,
        name=name,
        trigger=why,
        arrived_after=_arrived_after(observed, need),
    )
    record = build_decision(
        monitor,
        champion.spec.model_name,
        run=name,
        number=decision.number,
        trigger=why,
        time=time,
    )
    return _Retraining(
        record=RetrainRecord(run=name, signal=need.signal, time=time),
        children=(
            # The name may be taken since it was looked for, by a search's trial: look again.
            Child(run, Mode.CREATE_ONCE, owned=False, on_conflict=OnConflict.REPLAN),
            # Not before its run: without it, it would say that somebody deleted it.
            replace(_once(record), after=True),
        ),
    )


def _arrived_after(observed: Observed, need: Need) -> datetime:
    """From when on data count as new: the end of the champion's run, or the alert's beginning."""
    retrain = observed.monitor.spec.retrain
    since = retrain.new_data.since if retrain and retrain.new_data else "ChampionTrained"
    if since == "AlertStart" or observed.champion_ended is None:
        return need.since
    return observed.champion_ended


def _missing_records(observed: Observed) -> list[Child]:
    """Records of runs that were made just before the operator was killed."""
    known = {record.run for record in observed.records}
    return [_once(_record_of(observed, run)) for run in observed.runs if run.name not in known]


def _record_of(observed: Observed, run: SeenRun) -> dict[str, Any]:
    return build_decision(
        observed.monitor,
        run.model,
        run=run.name,
        number=run.number,
        trigger=dict(run.trigger),
        time=run.made,
    )


def _once(manifest: dict[str, Any]) -> Child:
    return Child(manifest, mode=Mode.CREATE_ONCE, owned=False, on_conflict=OnConflict.EXISTS)


def _last_retrain(observed: Observed) -> RetrainRecord | None:
    if not observed.records:
        return observed.monitor.status.last_retrain
    newest = max(observed.records, key=lambda record: (record.time, record.run))
    return RetrainRecord(run=newest.run, signal=newest.signal, time=timestamp(newest.time))


def _speedup(observed: Observed) -> str | None:
    speedup = observed.settings.clock_speedup
    return None if speedup == 1 else number(speedup)


def _events(observed: Observed, decision: Decision, made: _Retraining | None) -> tuple[Event, ...]:
    need, last = decision.need, observed.monitor.status.last_retrain
    if made is None or need is None or (last is not None and last.run == made.record.run):
        return ()
    why = "a person asked" if need.signal == MANUAL else f"{need.signal} is firing"
    return (Event("Retraining", f"{why}: made TrainingRun {made.record.run}"),)


def _requeue(
    observed: Observed, state: Standing, decision: Decision, now: datetime
) -> datetime | None:
    """When to look again without being woken: rules that load, an end of a cooldown."""
    times = [retry_at(observed, state, now)]
    if decision.reason == "Cooldown" and decision.next_allowed is not None:
        times.append(decision.next_allowed + timedelta(milliseconds=1))
    return min((time for time in times if time is not None), default=None)
