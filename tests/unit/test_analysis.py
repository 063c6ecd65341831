"""Verdicts of an analysis step, and that they may be looked for at every scrape."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from everloop.api.deployment import AnalysisMetric, AnalysisSpec
from everloop.plans.analysis import Stratum, inconclusive, judge, merge
from everloop.statistics.score import Counts, constrained_rates, one_sample, two_sample
from everloop.statistics.sequence import boundary, tuning

MAX = AnalysisSpec(min_samples=100, metrics=[AnalysisMetric(max="0.05")])
VERSUS = AnalysisSpec(
    min_samples=100, metrics=[AnalysisMetric(versus="Champion", max_regression="0.02")]
)
NOBODY = Counts(0, 0)


@pytest.mark.parametrize(
    ("spec", "challenger", "champion", "verdict"),
    [
        pytest.param(MAX, Counts(99, 99), NOBODY, None, id="too few samples hold"),
        pytest.param(MAX, Counts(100, 60), NOBODY, "Fail", id="clearly above"),
        pytest.param(MAX, Counts(100, 0), NOBODY, None, id="no failure in 100 proves no 5 percent"),
        pytest.param(MAX, Counts(300, 1), NOBODY, "Pass", id="clearly below"),
        pytest.param(MAX, Counts(1000, 50), NOBODY, None, id="on the bound"),
        pytest.param(VERSUS, Counts(500, 1), Counts(50, 0), None, id="champion has too few"),
        pytest.param(VERSUS, Counts(1000, 2), Counts(5000, 10), "Pass", id="as good"),
        pytest.param(VERSUS, Counts(1000, 90), Counts(5000, 10), "Fail", id="worse"),
        pytest.param(VERSUS, Counts(2000, 400), Counts(2000, 400), None, id="both bad, unclear"),
        pytest.param(VERSUS, Counts(9000, 1800), Counts(9000, 1800), "Pass", id="both bad, equal"),
    ],
)
def test_verdict(
    spec: AnalysisSpec, challenger: Counts, champion: Counts, verdict: str | None
) -> None:
    found = judge(spec, Stratum(challenger, champion), step=1, analysis_steps=1)
    assert (found[0].verdict if found else None) == verdict
    if found:
        assert found[0].samples == challenger.total


def bounded(**metric: str) -> AnalysisSpec:
    return AnalysisSpec(min_samples=100, metrics=[AnalysisMetric.model_validate(metric)])


NONE, ALL = bounded(max="0"), bounded(max="1")
EQUAL, ANY = (
    bounded(versus="Champion", maxRegression="0"),
    bounded(versus="Champion", maxRegression="1"),
)


@pytest.mark.parametrize(
    ("spec", "challenger", "champion", "verdict"),
    [
        pytest.param(NONE, Counts(99, 99), NOBODY, None, id="0: too few samples hold"),
        pytest.param(NONE, Counts(100, 0), NOBODY, "Pass", id="0: none failed"),
        pytest.param(NONE, Counts(100, 1), NOBODY, "Fail", id="0: one failed"),
        pytest.param(NONE, Counts(10**6, 1), NOBODY, "Fail", id="0: one in a million"),
        pytest.param(NONE, Counts(1000, 1000), NOBODY, "Fail", id="0: all failed"),
        pytest.param(bounded(max="-0e0"), Counts(100, 1), NOBODY, "Fail", id="0 in other words"),
        pytest.param(bounded(max="1e-300"), Counts(1000, 1000), NOBODY, "Fail", id="near 0"),
        pytest.param(ALL, Counts(99, 0), NOBODY, None, id="1: too few samples hold"),
        pytest.param(ALL, Counts(100, 0), NOBODY, "Pass", id="1: none failed"),
        pytest.param(ALL, Counts(100, 100), NOBODY, "Pass", id="1: all failed"),
        pytest.param(EQUAL, Counts(1000, 0), Counts(1000, 0), None, id="no margin, none failed"),
        pytest.param(
            EQUAL, Counts(1000, 1000), Counts(1000, 1000), None, id="no margin, all failed"
        ),
        pytest.param(EQUAL, Counts(1000, 1000), Counts(1000, 0), "Fail", id="no margin, worst"),
        pytest.param(EQUAL, Counts(1000, 0), Counts(1000, 1000), "Pass", id="no margin, best"),
        pytest.param(VERSUS, Counts(1000, 1000), Counts(1000, 0), "Fail", id="margin, worst"),
        pytest.param(VERSUS, Counts(1000, 0), Counts(1000, 1000), "Pass", id="margin, best"),
        pytest.param(VERSUS, Counts(9000, 0), Counts(9000, 0), "Pass", id="margin, none failed"),
        pytest.param(
            VERSUS, Counts(9000, 9000), Counts(9000, 9000), "Pass", id="margin, all failed"
        ),
        pytest.param(ANY, Counts(100, 0), Counts(99, 0), None, id="1 worse: champion has too few"),
        pytest.param(ANY, Counts(100, 0), Counts(100, 0), "Pass", id="1 worse: none failed"),
        pytest.param(ANY, Counts(100, 100), Counts(100, 0), "Pass", id="1 worse: worst"),
    ],
)
def test_verdict_at_the_ends_of_the_scale(
    spec: AnalysisSpec, challenger: Counts, champion: Counts, verdict: str | None
) -> None:
    """There a rate has no variance, and no statistic a word to say."""
    test_verdict(spec, challenger, champion, verdict)


def test_what_a_bound_of_0_says() -> None:
    (failed,) = judge(NONE, Stratum(Counts(1000, 1), NOBODY), 1, 1) or ()
    assert failed.message == "1 of 1000 requests failed: the rate 0.001 is above 0"
    (passed,) = judge(NONE, Stratum(Counts(1000, 0), NOBODY), 1, 1) or ()
    assert passed.message == "0 of 1000 requests failed: the rate 0 is not above 0"


def test_all_bounds_must_pass_and_one_fail_is_enough() -> None:
    both = AnalysisSpec(min_samples=100, metrics=[*MAX.metrics, *VERSUS.metrics])
    good, bad = Counts(2000, 5), Counts(2000, 400)
    found = judge(both, Stratum(good, Counts(2000, 5)), 1, 1)
    assert found is not None
    assert [item.verdict for item in found] == ["Pass", "Pass"]
    assert judge(both, Stratum(good, NOBODY), 1, 1) is None
    failed = judge(both, Stratum(bad, Counts(2000, 400)), 1, 1)
    assert failed is not None
    assert [(item.verdict, item.bound) for item in failed] == [("Fail", "0.05")]


def test_messages_say_what_was_counted() -> None:
    found = judge(VERSUS, Stratum(Counts(1000, 90), Counts(5000, 10)), 3, 1)
    assert found is not None
    assert found[0].message == (
        "90 of 1000 requests failed, 10 of 5000 of the champion's: "
        "the difference 0.088 is above 0.02"
    )
    assert (found[0].value, found[0].bound, found[0].step) == ("0.088", "0.02", 3)


def test_an_inconclusive_that_says_nothing_new_keeps_its_numbers() -> None:
    first = inconclusive(MAX, Stratum(Counts(50, 1), NOBODY), 1, "no clear answer within 1h")
    later = inconclusive(MAX, Stratum(Counts(70, 1), NOBODY), 1, "no clear answer within 1h")
    assert merge(first, later) == first
    other = inconclusive(MAX, Stratum(Counts(70, 1), NOBODY), 1, "Prometheus is away")
    assert merge(first, other) == other


def test_a_long_error_of_prometheus_is_cut() -> None:
    (found,) = inconclusive(MAX, None, 1, "many words " * 500)
    assert len(found.message) == 1024


@pytest.mark.parametrize("margin", [0.0, 0.02, 0.1])
@pytest.mark.parametrize(("failed", "other"), [(0, 0), (3, 40), (30, 5), (100, 0)])
def test_constrained_rates_are_the_likeliest_pair(margin: float, failed: int, other: int) -> None:
    challenger, champion = Counts(100, failed), Counts(400, other)
    high, low = constrained_rates(challenger, champion, margin)
    assert high - low == pytest.approx(margin)
    grid = np.linspace(margin + 1e-9, 1 - 1e-9, 20001)
    best = _log_likelihood(challenger, grid) + _log_likelihood(champion, grid - margin)
    here = _log_likelihood(challenger, np.array([high])) + _log_likelihood(
        champion, np.array([low])
    )
    assert here[0] >= best.max() - 1e-3


def _log_likelihood(counts: Counts, rate: NDArray[np.float64]) -> NDArray[np.float64]:
    rate = np.clip(rate, 1e-12, 1 - 1e-12)
    worked = counts.total - counts.failed
    result: NDArray[np.float64] = counts.failed * np.log(rate) + worked * np.log(1 - rate)
    return result


# --- by simulation: looking at every scrape is sound, and it decides ------------------------------
RUNS, LOOKS, ALPHA = 400, 80, 0.05


def crossings(
    rate: float,
    champion_rate: float | None,
    limit: float,
    *,
    share: float,
    sign: int,
    alpha: float,
) -> float:
    """How many of RUNS rollouts cross the boundary at any of LOOKS looks."""
    random = np.random.default_rng(20260101)
    rho = tuning(200, alpha)
    crossed = 0
    for _ in range(RUNS):
        to_challenger = random.binomial(100, share, LOOKS)
        mine = to_challenger.cumsum()
        theirs = (100 - to_challenger).cumsum()
        failed = random.binomial(to_challenger, rate).cumsum()
        failed_there = random.binomial(100 - to_challenger, champion_rate or 0.0).cumsum()
        for look in range(LOOKS):
            challenger = Counts(int(mine[look]), int(failed[look]))
            champion = Counts(int(theirs[look]), int(failed_there[look]))
            if challenger.total < 100:
                continue
            if champion_rate is None:
                z, samples = one_sample(challenger, limit), float(challenger.total)
            else:
                z = two_sample(challenger, champion, limit)
                samples = 1 / (1 / challenger.total + 1 / champion.total)
            if sign * z > boundary(samples, alpha, rho):
                crossed += 1
                break
    return crossed / RUNS


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize(
    "case",
    [
        pytest.param((0.05, None, 0.05, 0.5), id="at the bound"),
        pytest.param((0.01, None, 0.01, 0.2), id="at a small bound"),
        pytest.param((0.03, 0.01, 0.02, 0.1), id="at the margin, 10 percent of the traffic"),
        pytest.param((0.01, 0.01, 0.0, 0.1), id="equal, no margin, few failures"),
    ],
)
@pytest.mark.parametrize("sign", [1, -1], ids=["false Fail", "false Pass"])
def test_false_verdicts_under_continuous_peeking(
    case: tuple[float, float | None, float, float], sign: int, alpha: float
) -> None:
    rate, champion_rate, limit, share = case
    found = crossings(rate, champion_rate, limit, share=share, sign=sign, alpha=alpha)
    noise = 3 * (alpha * (1 - alpha) / RUNS) ** 0.5
    assert found <= alpha + noise


def test_peeking_with_a_fixed_sample_test_would_not_be_sound() -> None:
    """What the boundary is for: 1.645 at every look is crossed far more often than in 5 percent."""
    random = np.random.default_rng(1)
    false_alarms = 0
    for _ in range(RUNS):
        failed = random.binomial(50, 0.05, LOOKS).cumsum()
        looks = [
            one_sample(Counts(50 * (look + 1), int(failed[look])), 0.05) for look in range(LOOKS)
        ]
        false_alarms += max(looks) > 1.645
    assert false_alarms / RUNS > 3 * ALPHA


@pytest.mark.parametrize(
    ("rate", "champion_rate", "limit", "sign"),
    [
        pytest.param(0.20, None, 0.05, 1, id="a bad one fails"),
        pytest.param(0.01, None, 0.05, -1, id="a good one passes"),
        pytest.param(0.12, 0.01, 0.02, 1, id="a worse one fails"),
        pytest.param(0.005, 0.005, 0.02, -1, id="an equal one passes"),
    ],
)
def test_power(rate: float, champion_rate: float | None, limit: float, sign: int) -> None:
    assert crossings(rate, champion_rate, limit, share=0.3, sign=sign, alpha=ALPHA) > 0.95
