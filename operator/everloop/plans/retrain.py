"""Whether a Monitor makes a TrainingRun now, and if not, why not.

A need is a firing alert of a signal in `retrain.signals`, or a person's request. It stays as long
as the alert fires (the request: until its run is made), so nothing has to be remembered to try
again: every pass asks the same question. One run per need however often it is asked, because the
run's name is its identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from everloop import contract
from everloop.api.conditions import timestamp
from everloop.api.durations import seconds
from everloop.api.monitor import Refusal, Retrain, Signal
from everloop.manifests.promql import number
from everloop.manifests.retraining import (
    read_run_spec,
    retraining_name,
    retraining_numbers,
)
from everloop.plans.monitor_observed import Observed, SeenAlert
from everloop.plans.signals import measure

MANUAL: Final = "Manual"
REFUSAL_LETTERS = 1024  # of a refusal's message, as the CRD has it


@dataclass(frozen=True)
class Need:
    """Why a run is wanted."""

    signal: Signal | Literal["Manual"]
    since: datetime  # when the alert's condition began to hold; a request: now
    token: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Decision:
    """A run to make (its number), or why none is made although one is wanted."""

    need: Need | None = None
    number: int | None = None
    reason: str = ""
    message: str = ""
    next_allowed: datetime | None = None  # end of the cooldown, where one runs


def decide(observed: Observed, alerts: dict[str, SeenAlert], now: datetime) -> Decision:
    """The decision for the champion of now."""
    next_allowed = cooldown_end(observed)
    running = next_allowed if next_allowed is not None and next_allowed > now else None
    need = find_need(observed, alerts, now)
    if need is None or _is_met(observed, need):
        return Decision(next_allowed=running)
    reason, message = refuse(observed, need, running)
    if reason:
        return Decision(need, None, reason, message, running)
    return Decision(need, next_number(observed), next_allowed=running)


def find_need(observed: Observed, alerts: dict[str, SeenAlert], now: datetime) -> Need | None:
    """A person's request that has no run yet, or the alert that has fired longest."""
    token = observed.monitor.metadata.annotations.get(contract.ANNOTATION_RETRAIN, "")
    if token and all(record.token != token for record in observed.records):
        return Need(MANUAL, now, token)
    retrain = observed.monitor.spec.retrain
    if retrain is None:
        return None
    firing = [
        alert for alert in alerts.values() if alert.firing and alert.signal in retrain.signals
    ]
    if not firing:
        return None
    first = min(firing, key=lambda alert: (alert.active_at, alert.signal))
    return Need(first.signal, first.active_at, value=first.value)


def _is_met(observed: Observed, need: Need) -> bool:
    """Whether a run that was made since the alert began is still at work on it."""
    if need.signal == MANUAL:
        return False
    began = timestamp(need.since)  # whole seconds, as a creationTimestamp is
    return any(not run.finished and run.made >= began for run in observed.runs)


def refuse(observed: Observed, need: Need, cooling_until: datetime | None) -> tuple[str, str]:
    """Reason and message of the first thing that speaks against a run, or two empty strings."""
    return next(_objections(observed, need, cooling_until), ("", ""))


def _objections(
    observed: Observed, need: Need, cooling_until: datetime | None
) -> Iterator[tuple[str, str]]:
    deployment, champion = observed.deployment, observed.champion
    if observed.monitor.spec.suspend:
        yield "Suspended", "spec.suspend is true: set it to false to let the Monitor make runs"
    if deployment is None or champion is None:
        yield contract.REASON_NO_CHAMPION, "the Deployment serves no champion to train again"
        return
    name = champion.metadata.name
    run_spec = read_run_spec(champion)
    if isinstance(run_spec, str):
        yield "NoProvenance", run_spec
    for run in observed.runs:
        if not run.finished:
            yield "RunInFlight", f"TrainingRun {run.name} has not ended; one at a time"
    if deployment.status.challenger is not None:
        yield (
            "RolloutInFlight",
            f"{deployment.status.challenger} is on trial against {name}; its verdict comes first",
        )
    if observed.waiting:
        yield (
            "NewerVersionWaiting",
            f"{observed.waiting[-1]} is newer than {name} and not deployed yet",
        )
    if need.signal != MANUAL and cooling_until is not None:
        yield "Cooldown", f"no run before {timestamp(cooling_until)}, the end of the cooldown"


def cooldown_end(observed: Observed) -> datetime | None:
    """Until when no run is made for an alert: the cooldown counts from the last run's end.

    A run that somebody deleted counts from when it was decided.
    """
    retrain = observed.monitor.spec.retrain
    if retrain is None:
        return None
    there = {run.name for run in observed.runs}
    ends = [run.ended for run in observed.runs if run.ended is not None]
    ends += [record.time for record in observed.records if record.run not in there]
    if not ends:
        return None
    pause = seconds(retrain.cooldown) / observed.settings.clock_speedup
    return max(ends) + timedelta(seconds=pause)


def run_name(observed: Observed, number: int) -> str:
    """The name of this Monitor's n-th run for this champion."""
    version = observed.champion.spec.version if observed.champion else 0
    return retraining_name(observed.monitor.metadata.name, version, number)


def next_number(observed: Observed) -> int:
    """One more than the highest in runs and records for this champion, deleted runs included.

    Names that strangers took are passed over, whatever numbers they end in.
    """
    monitor = observed.monitor.metadata.name
    version = observed.champion.spec.version if observed.champion else 0
    names = {*(run.name for run in observed.runs), *(record.run for record in observed.records)}
    found = (retraining_numbers(monitor, name) for name in names)
    number = 1 + max((each[1] for each in found if each and each[0] == version), default=0)
    taken = set(observed.run_names)
    while run_name(observed, number) in taken:
        number += 1
    return number


def trigger(observed: Observed, need: Need) -> dict[str, Any]:
    """Why the run exists, for its annotation, its ModelVersion and the decision record."""
    monitor = observed.monitor
    about = {
        "type": MANUAL if need.signal == MANUAL else "Alert",
        "monitor": monitor.metadata.name,
        "champion": observed.champion.metadata.name if observed.champion else None,
        "clockSpeedup": number(observed.settings.clock_speedup),
    }
    if need.signal == MANUAL:
        return {**about, "token": need.token}
    measured = measure(observed, need.signal)
    hold = alert_hold(monitor.spec.retrain, observed, need.signal)
    return {
        **about,
        "signal": need.signal,
        "value": measured.value or (f"{need.value:.4g}" if need.value is not None else None),
        "bound": measured.bound,
        "samples": measured.samples,
        "top": measured.top,
        "activeAt": _exact(need.since),
        "startsAt": _exact(need.since + timedelta(seconds=hold)),
    }


def alert_hold(retrain: Retrain | None, observed: Observed, signal: str) -> float:
    """Seconds for which a condition holds before its alert fires, `for` of the rule."""
    spec = observed.monitor.spec
    if signal == "ErrorsHigh":
        text = spec.errors.for_ if spec.errors else "0s"
    elif signal == "Absent":
        text = spec.absence.for_ if spec.absence else "0s"
    else:
        text = retrain.for_ if retrain else "0s"
    return seconds(text) / observed.settings.clock_speedup


def count_refusal(
    refusals: list[Refusal] | None, decision: Decision, now: datetime
) -> list[Refusal] | None:
    """The refusals with this one counted: once for each alert (by its start) and reason.

    Called with every pass, so it must change nothing when nothing is new. Times in a status are
    whole seconds.
    """
    need = decision.need
    if need is None or not decision.reason:
        return refusals
    entries = {item.reason: item for item in refusals or ()}
    old = entries.get(decision.reason)
    asked = f"asked by {need.token}: " if need.token else f"{need.signal}: "
    if old is not None:
        began = need.since.replace(microsecond=0)
        known = datetime.fromisoformat(old.last) >= began
        # a token is as long as a person likes
        if old.message.startswith(asked[:REFUSAL_LETTERS]) if need.token else known:
            return refusals
    entries[decision.reason] = Refusal(
        reason=decision.reason,
        count=(old.count if old else 0) + 1,
        message=(asked + decision.message)[:REFUSAL_LETTERS],
        last=timestamp(now),
    )
    return sorted(entries.values(), key=lambda item: item.reason)


def _exact(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
