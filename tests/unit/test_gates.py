"""Every way a gate can end."""

from __future__ import annotations

from typing import Any

import pytest

from everloop.api.report import Report
from everloop.api.trainingrun import ChampionRef, Gate
from everloop.plans.gates import Champion, eligible, failed, judge

DIGEST = "sha256:" + "0" * 64
REF = ChampionRef(deployment="flights", model_version="flights-v1", digest=DIGEST)
CHAMPION = Champion(REF, training_cutoff="2013-02-20T00:00:00Z")


def make_report(**fields: Any) -> Report:
    base: dict[str, Any] = {
        "schema": 1,
        "namespace": "ml",
        "run": "r",
        "uid": "u",
        "attempt": 1,
        "outcome": "Succeeded",
        "metrics": {"auc": "0.70", "loss": "0.30"},
        "holdOut": {
            "digest": DIGEST,
            "rows": 900,
            "timeSpan": {"start": "2013-02-20T00:00:01Z", "end": "2013-02-28T23:00:00Z"},
        },
    }
    return Report.model_validate({**base, **fields})


def compared(difference: str, low: str, high: str) -> dict[str, Any]:
    interval = {"difference": difference, "low": low, "high": high}
    return {"outcome": "Compared", "metrics": {}, "intervals": {"auc": interval}}


def make_gate(**fields: Any) -> Gate:
    return Gate.model_validate({"metric": "auc", **fields})


VERSUS = make_gate(versus="Champion", deployment="flights", maxRegression="0.01")
STRICT = make_gate(versus="Champion", deployment="flights")


@pytest.mark.parametrize(
    ("gate", "verdict", "reason"),
    [
        (make_gate(min="0.60"), "Pass", ""),
        (make_gate(min="0.7"), "Pass", ""),
        (make_gate(min="0.7001"), "Fail", "BelowMin"),
        (make_gate(metric="loss", max="0.3"), "Pass", ""),
        (make_gate(metric="loss", max="2e-1"), "Fail", "AboveMax"),
        (make_gate(metric="f1", min="0.1"), "Fail", "NoMetric"),
    ],
    ids=["above", "equal is enough", "below", "max equal", "max above", "metric missing"],
)
def test_absolute_bounds(gate: Gate, verdict: str, reason: str) -> None:
    (result,) = judge([gate], make_report(), Champion(None))
    assert (result.verdict, result.reason) == (verdict, reason)


def test_a_metric_that_is_missing_among_many_is_told_in_what_a_status_can_hold() -> None:
    report = make_report(metrics={f"x{number:02}" + "m" * 60: "1" for number in range(64)})
    (result,) = judge([make_gate(metric="f1", min="0.1")], report, Champion(None))
    assert (result.reason, len(result.message)) == ("NoMetric", 1024)


@pytest.mark.parametrize(
    ("gate", "versus", "champion", "verdict", "reason"),
    [
        (VERSUS, compared("0.02", "-0.01", "0.05"), CHAMPION, "Pass", ""),
        (VERSUS, compared("-0.05", "-0.09", "-0.0101"), CHAMPION, "Fail", "Regression"),
        (VERSUS, compared("0", "-0.0101", "0.02"), CHAMPION, "Inconclusive", "IntervalSpansBound"),
        (
            VERSUS,
            compared("-0.03", "-0.05", "-0.01"),
            CHAMPION,
            "Inconclusive",
            "IntervalSpansBound",
        ),
        (STRICT, compared("0.02", "0", "0.05"), CHAMPION, "Pass", ""),
        (
            STRICT,
            compared("0.02", "-0.001", "0.05"),
            CHAMPION,
            "Inconclusive",
            "IntervalSpansBound",
        ),
        (VERSUS, None, Champion(None), "Skipped", "NoChampion"),
        (VERSUS, None, Champion(None, problem="gone"), "Inconclusive", "ChampionUnavailable"),
        (VERSUS, None, CHAMPION, "Inconclusive", "NotCompared"),
        (
            VERSUS,
            {"outcome": "Failed", "message": "KeyError: dep_hour"},
            CHAMPION,
            "Inconclusive",
            "ChampionFailed",
        ),
        (VERSUS, {"outcome": "Compared"}, CHAMPION, "Inconclusive", "NoInterval"),
        (
            VERSUS,
            compared("0.02", "0.01", "0.05"),
            Champion(REF, training_cutoff="2013-02-20T00:00:01Z"),
            "Inconclusive",
            "ChampionSawHoldOut",
        ),
        (VERSUS, compared("0.02", "0.01", "0.05"), Champion(REF), "Pass", ""),
    ],
    ids=[
        "low end on the bound",
        "high end under the bound",
        "low end just under the bound",
        "high end on the bound",
        "no regression allowed, none seen",
        "no regression allowed, perhaps one",
        "no champion",
        "champion's version is gone",
        "not compared",
        "champion cannot score",
        "no predictions",
        "champion has seen the hold-out",
        "champion's training time unknown",
    ],
)
def test_versus_champion(
    gate: Gate, versus: Any, champion: Champion, verdict: str, reason: str
) -> None:
    (result,) = judge([gate], make_report(versus=versus), champion)
    assert (result.verdict, result.reason) == (verdict, reason)
    assert result.message


def test_times_with_and_without_offset_compare() -> None:
    champion = Champion(REF, training_cutoff="2013-02-20T01:30:00+01:00")
    (result,) = judge([VERSUS], make_report(versus=compared("0", "0", "0")), champion)
    assert result.reason == "ChampionSawHoldOut"
    naive = Champion(REF, training_cutoff="2013-02-20T00:00:00")
    (result,) = judge([VERSUS], make_report(versus=compared("0", "0", "0")), naive)
    assert result.verdict == "Pass"


def test_a_gate_with_several_bounds_has_several_results() -> None:
    results = judge([make_gate(min="0.6", max="0.65")], make_report(), Champion(None))
    assert [(result.kind, result.verdict) for result in results] == [
        ("Min", "Pass"),
        ("Max", "Fail"),
    ]
    assert [result.kind for result in failed(results)] == ["Max"]
    assert not eligible(results)


def test_skipped_is_eligible_and_inconclusive_is_not() -> None:
    skipped = judge([VERSUS], make_report(), Champion(None))
    assert eligible(skipped)
    inconclusive = judge([VERSUS], make_report(), CHAMPION)
    assert not eligible(inconclusive)
    assert not failed(inconclusive)
    assert eligible([])
