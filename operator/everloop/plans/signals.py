"""The state of each signal, from alerts and recorded verdicts; values change with it only."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from everloop.api.conditions import timestamp
from everloop.api.monitor import MonitorSpec, Signal, SignalStatus
from everloop.contract import SIDE_INPUT, SIDE_OUTPUT
from everloop.manifests.drift_rules import DRIFT_OVER, DRIFT_RATIO
from everloop.manifests.health_rules import ANSWERS, ERROR_RATE, HEALTH_OVER
from everloop.manifests.rules import DRIFT, HEALTH
from everloop.manifests.rules_common import LABEL_SIGNAL, REQUESTS
from everloop.plans.monitor_observed import Observed, SeenAlert, Watch

SIDES = {"InputDrift": SIDE_INPUT, "OutputDrift": SIDE_OUTPUT}
TOP = 5  # columns named in a status and in a trigger


def watched(spec: MonitorSpec) -> list[Signal]:
    """The signals that a spec asks for."""
    signals: list[tuple[Signal, object]] = [
        ("InputDrift", spec.inputs),
        ("OutputDrift", spec.outputs),
        ("ErrorsHigh", spec.errors),
        ("Absent", spec.absence),
    ]
    return [signal for signal, asked in signals if asked is not None]


def current_alerts(observed: Observed, loaded: set[str]) -> dict[str, SeenAlert]:
    """Alerts by signal: of the rules in force and the champion of now, nothing older."""
    if observed.watch is None or observed.champion is None:
        return {}
    champion = observed.champion.metadata.name
    return {
        alert.signal: alert
        for group in observed.watch.groups
        if group.name in loaded
        for alert in group.alerts
        if alert.champion == champion
    }


def signal_states(
    observed: Observed, alerts: dict[str, SeenAlert], evaluated: frozenset[str], now: datetime
) -> list[SignalStatus]:
    """Status of every watched signal.

    `evaluated` names the groups in force that Prometheus has evaluated. Of the others, what was
    known about this champion stays: not being able to look is not a change.
    """
    champion = observed.champion.metadata.name if observed.champion else None
    same_champion = observed.monitor.status.champion == champion
    before = {item.name: item for item in observed.monitor.status.signals or ()}
    states = []
    for signal in watched(observed.monitor.spec):
        old = before.get(signal) if same_champion else None
        group = DRIFT if signal in SIDES else HEALTH
        state = _state(signal, alerts.get(signal), observed.watch) if group in evaluated else None
        if old is not None and state in (None, old.state):
            states.append(old)
            continue
        measured = (
            measure(observed, signal)
            if state not in (None, "NoData")
            else SignalStatus(name=signal, state="NoData")
        )
        states.append(
            measured.model_copy(update={"state": state or "NoData", "since": timestamp(now)})
        )
    return states


def measure(observed: Observed, signal: Signal) -> SignalStatus:
    """Value, bound, samples and top columns of a signal now; the state is for the caller to say."""
    watch = observed.watch or Watch()
    if signal in SIDES:
        ratios = sorted(watch.all(DRIFT_RATIO, side=SIDES[signal]), key=lambda item: -item.value)
        top = [f"{item.labels['feature']} {_number(item.value)}" for item in ratios[:TOP]]
        return SignalStatus(
            name=signal,
            state="OK",
            value=_number(ratios[0].value) if ratios else None,
            bound="1",
            samples=_whole(watch.one(REQUESTS)),
            top=top or None,
        )
    if signal == "ErrorsHigh":
        errors = observed.monitor.spec.errors
        return SignalStatus(
            name=signal,
            state="OK",
            value=_number(watch.one(ERROR_RATE)),
            bound=errors.rate if errors else None,
            samples=_whole(watch.one(ANSWERS)),
        )
    return SignalStatus(name=signal, state="OK")


def _state(
    signal: str, alert: SeenAlert | None, watch: Watch | None
) -> Literal["OK", "Pending", "Firing", "NoData"]:
    if alert is not None:
        return "Firing" if alert.firing else "Pending"
    name = DRIFT_OVER if signal in SIDES else HEALTH_OVER
    verdict = watch.one(name, **{LABEL_SIGNAL: signal}) if watch else None
    return "NoData" if verdict is None else "OK"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
