"""The verdict of an analysis step: does the challenger fail too often?

Each step is its own stratum: what is counted is what was answered since the step began, under the
weights of that step. Pooling steps would compare a challenger's first quiet hour with a champion's
whole week. Looking often is sound (statistics/sequence.py), and so is stopping at the first answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everloop import contract
from everloop.api.deployment import AnalysisMetric, AnalysisSpec, Verdict
from everloop.statistics.score import Counts, one_sample, two_sample
from everloop.statistics.sequence import boundary, tuning

ALPHA = (
    0.05  # chance to reject a good challenger in a whole rollout, and to pass a bad one in a step
)
TUNED_FOR = 2  # the boundary is tightest at so many times minSamples


@dataclass(frozen=True)
class Stratum:
    """What routers answered since the step began, by version."""

    challenger: Counts
    champion: Counts


def judge(
    spec: AnalysisSpec, stratum: Stratum, step: int, analysis_steps: int
) -> tuple[Verdict, ...] | None:
    """One verdict for each bound once all of them are settled or one is Fail; else None: go on.

    `analysis_steps` is how many analyses the rollout has: the chance of a false Fail is divided by
    their number and by that of the bounds, so that it is ALPHA for the whole rollout. A false Pass
    needs all bounds to pass wrongly, so that each may have ALPHA.
    """
    bounds = [bound for metric in spec.metrics for bound in _bounds(metric)]
    alpha = ALPHA / (analysis_steps * len(bounds))
    found = [_judge(bound, spec.min_samples, stratum, step, alpha) for bound in bounds]
    failed = tuple(item for item in found if item is not None and item.verdict == contract.FAIL)
    if failed:
        return failed
    settled = tuple(item for item in found if item is not None)
    return settled if len(settled) == len(found) else None


def inconclusive(
    spec: AnalysisSpec, stratum: Stratum | None, step: int, message: str
) -> tuple[Verdict, ...]:
    """What is recorded when time is up, or when there is nobody to ask."""
    verdicts = []
    for metric in spec.metrics:
        for bound in _bounds(metric):
            value = None
            if stratum is not None and stratum.challenger.total:
                value = number(_value(bound, stratum))
            verdicts.append(
                Verdict(
                    step=step,
                    metric=metric.name,
                    verdict="Inconclusive",
                    value=value,
                    bound=number(bound.limit),
                    samples=stratum.challenger.total if stratum else 0,
                    message=message,
                )
            )
    return tuple(verdicts)


def merge(old: Sequence[Verdict], new: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Verdicts of a rollout with those of a step put in.

    An Inconclusive that says nothing new keeps the values it was recorded with, so that counting on
    writes no status.
    """
    step = new[0].step if new else None
    before = [verdict for verdict in old if verdict.step == step]
    same = [(verdict.verdict, verdict.message, verdict.bound) for verdict in before] == [
        (verdict.verdict, verdict.message, verdict.bound) for verdict in new
    ]
    if same:
        return tuple(old)
    return (*(verdict for verdict in old if verdict.step != step), *new)


def number(value: float) -> str:
    """A rate for a status: four significant digits, no exponent.

    >>> number(0.012345), number(0.0), number(-0.00001)
    ('0.01235', '0', '-0.00001')
    """
    digits = f"{float(f'{value:.4g}'):.8f}".rstrip("0").rstrip(".")
    return "0" if digits in ("-0", "") else digits


@dataclass(frozen=True)
class _Bound:
    metric: str
    versus: bool
    limit: float


def _bounds(metric: AnalysisMetric) -> list[_Bound]:
    bounds = []
    if metric.max is not None:
        bounds.append(_Bound(metric.name, False, float(metric.max)))
    if metric.versus is not None:
        bounds.append(_Bound(metric.name, True, float(metric.max_regression or "0")))
    return bounds


def _value(bound: _Bound, stratum: Stratum) -> float:
    if bound.versus:
        return stratum.challenger.rate - stratum.champion.rate
    return stratum.challenger.rate


def _judge(
    bound: _Bound, min_samples: int, stratum: Stratum, step: int, alpha: float
) -> Verdict | None:
    challenger, champion = stratum.challenger, stratum.champion
    if challenger.total < min_samples or (bound.versus and champion.total < min_samples):
        return None
    failed = _certain(bound, stratum)
    if failed is None:
        failed = _tested(bound, min_samples, stratum, alpha)
    if failed is None:
        return None
    value, limit = number(_value(bound, stratum)), number(bound.limit)
    relation = "above" if failed else "not above" if _at_an_end(bound) else "below"
    what = f"{challenger.failed} of {challenger.total} requests failed"
    if bound.versus:
        what += f", {champion.failed} of {champion.total} of the champion's"
        message = f"{what}: the difference {value} is {relation} {limit}"
    else:
        message = f"{what}: the rate {value} is {relation} {limit}"
    return Verdict(
        step=step,
        metric=bound.metric,
        verdict="Fail" if failed else "Pass",
        value=value,
        bound=limit,
        samples=challenger.total,
        message=message,
    )


def _at_an_end(bound: _Bound) -> bool:
    """Whether chance has no part in what is on which side of the bound.

    At a rate of 0 nothing fails and at 1 nothing else happens, so these have no variance and no
    statistic could tell them from any other rate: there would never be a verdict. Two rates have no
    variance only where they are to be 1 apart; where they are to be equal it is that of both.
    """
    return bound.limit >= 1 or (bound.limit <= 0 and not bound.versus)


def _certain(bound: _Bound, stratum: Stratum) -> bool | None:
    """Whether a bound at an end of the scale is broken; None if it is in between.

    One failure proves that a rate is above 0. That a rate is 0 no number of answers proves: who
    writes 0 means that none of minSamples may fail, and passes then.
    """
    return _value(bound, stratum) > bound.limit if _at_an_end(bound) else None


def _tested(bound: _Bound, min_samples: int, stratum: Stratum, alpha: float) -> bool | None:
    """Whether the challenger is surely above the bound, or surely below; None if that is open."""
    challenger, champion = stratum.challenger, stratum.champion
    if bound.versus:
        z = two_sample(challenger, champion, bound.limit)
        samples = 1 / (1 / challenger.total + 1 / champion.total)
    else:
        z = one_sample(challenger, bound.limit)
        samples = challenger.total
    if z > boundary(samples, alpha, tuning(TUNED_FOR * min_samples, alpha)):
        return True
    if -z > boundary(samples, ALPHA, tuning(TUNED_FOR * min_samples, ALPHA)):
        return False
    return None


def count(samples: Mapping[tuple[str, str], float], version: str) -> Counts:
    """Counts of a version from answers by (version, class of status codes).

    >>> count({("v1", "2"): 98.0, ("v1", "5"): 2.0, ("v2", "5"): 7.0}, "v1")
    Counts(total=100, failed=2)
    """
    total = sum(value for (name, _), value in samples.items() if name == version)
    failed = sum(
        value for (name, code), value in samples.items() if name == version and code == "5"
    )
    return Counts(round(total), min(round(failed), round(total)))
