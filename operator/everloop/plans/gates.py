"""The gates of a TrainingRun: may this model become a version, and may it be rolled out?

Fail: not registered. Inconclusive: registered, but not eligible for a rollout. Pass and Skipped:
eligible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from everloop import contract
from everloop.api.report import Report
from everloop.api.trainingrun import ChampionRef, Gate, GateResult

Verdict = Literal["Pass", "Fail", "Inconclusive", "Skipped"]


@dataclass(frozen=True)
class Champion:
    """What a run compares with, as its config says: resolved once, before the first attempt."""

    ref: ChampionRef | None
    training_cutoff: str | None = None
    problem: str = ""  # why there is none although the Deployment has a champion


def champion_of(run_config: Mapping[str, Any]) -> Champion:
    """The champion in a parsed run.json."""
    entry = run_config.get("champion")
    if not entry:
        return Champion(None, problem=run_config.get("championProblem") or "")
    return Champion(ChampionRef.model_validate(entry), entry.get("trainingCutoff"))


def judge(gates: Iterable[Gate], report: Report, champion: Champion) -> list[GateResult]:
    """One result per bound, in the order of the gates; a gate may state several bounds."""
    results = []
    for gate in gates:
        if gate.min is not None:
            results.append(_absolute(gate, "Min", gate.min, report))
        if gate.max is not None:
            results.append(_absolute(gate, "Max", gate.max, report))
        if gate.versus is not None:
            results.append(_versus(gate, report, champion))
    return results


def failed(results: Iterable[GateResult]) -> list[GateResult]:
    """Those that keep a model from being registered."""
    return [result for result in results if result.verdict == contract.FAIL]


def eligible(results: Iterable[GateResult]) -> bool:
    """Whether a version with these results may challenge a champion."""
    return all(result.verdict in (contract.PASS, contract.SKIPPED) for result in results)


def explain(results: Sequence[GateResult]) -> str:
    """One sentence a result, for a condition's message."""
    return "; ".join(f"{result.metric} ({result.kind}): {result.message}" for result in results)


def _absolute(gate: Gate, kind: Literal["Min", "Max"], bound: str, report: Report) -> GateResult:
    value = report.metrics.get(gate.metric)
    if value is None:
        known = ", ".join(sorted(report.metrics)) or "none"
        return GateResult(
            metric=gate.metric,
            kind=kind,
            verdict="Fail",
            bound=bound,
            reason="NoMetric",
            message=f"metrics.json has no {gate.metric} (it has: {known}); let a step write it",
        )
    holds = Decimal(value) >= Decimal(bound) if kind == "Min" else Decimal(value) <= Decimal(bound)
    relation = {True: {"Min": ">=", "Max": "<="}, False: {"Min": "<", "Max": ">"}}[holds][kind]
    return GateResult(
        metric=gate.metric,
        kind=kind,
        verdict="Pass" if holds else "Fail",
        value=value,
        bound=bound,
        reason="" if holds else ("BelowMin" if kind == "Min" else "AboveMax"),
        message=f"{value} {relation} {bound}",
    )


def _versus(gate: Gate, report: Report, champion: Champion) -> GateResult:
    allowed = gate.max_regression or "0"
    base: dict[str, Any] = {"metric": gate.metric, "kind": "Champion", "bound": allowed}
    if champion.ref is None and not champion.problem:
        message = f"Deployment {gate.deployment} has no champion"
        return GateResult(
            **base, verdict="Skipped", reason=contract.REASON_NO_CHAMPION, message=message
        )
    obstacle = _obstacle(report, champion)
    interval = report.versus.intervals.get(gate.metric) if report.versus else None
    if obstacle is None and interval is None:
        why = report.versus.message if report.versus else ""
        obstacle = (
            "NoInterval",
            why
            or f"no confidence interval for {gate.metric}: the Evaluate step must write "
            f"{contract.PREDICTIONS_NAME} in both passes, and the metric must be one of it",
        )
    if obstacle is not None or interval is None or champion.ref is None:
        reason, message = obstacle or ("NotCompared", "")
        return GateResult(**base, verdict="Inconclusive", reason=reason, message=message)
    low, high, limit = Decimal(interval.low), Decimal(interval.high), -Decimal(allowed)
    verdict: Verdict = "Pass" if low >= limit else "Fail" if high < limit else "Inconclusive"
    reasons = {"Pass": "", "Fail": "Regression", "Inconclusive": "IntervalSpansBound"}
    return GateResult(
        **base,
        verdict=verdict,
        value=interval.difference,
        low=interval.low,
        high=interval.high,
        reason=reasons[verdict],
        message=f"{interval.difference} against {champion.ref.model_version} (positive is better), "
        f"between {interval.low} and {interval.high}; allowed: not below {limit}",
    )


def _obstacle(report: Report, champion: Champion) -> tuple[str, str] | None:
    """Reason and message when the two models could not be compared at all."""
    if champion.ref is None:
        return "ChampionUnavailable", champion.problem
    name = champion.ref.model_version
    if report.versus is None:
        return "NotCompared", f"the run did not score {name}"
    if report.versus.outcome == "Failed":
        return "ChampionFailed", f"{name} could not score the hold-out: {report.versus.message}"
    span = report.hold_out.time_span if report.hold_out else None
    cutoff = champion.training_cutoff
    if span and cutoff and _time(cutoff) >= _time(span.start):
        return (
            "ChampionSawHoldOut",
            f"{name} was trained on data up to {cutoff}, the hold-out begins at {span.start}: "
            "its score would flatter it",
        )
    return None


def _time(text: str) -> datetime:
    """An RFC 3339 time; without an offset it is UTC."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
