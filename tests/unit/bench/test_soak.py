"""The soak's verdicts: what grows is found, what only wavers is not, and objects are counted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from bench.soak import chart, cluster, report
from bench.soak.verdict import MIB, expected, flat, last_process, line, memory

MINUTES = [60.0 * minute for minute in range(90)]
BASE = {"pod": 4, "trainingrun": 1, "modelversion": 1, "configmap": 5, "controllerrevision": 1}


def test_a_line_is_not_bent_by_restarts_and_busy_moments() -> None:
    points = [(at, 100.0 + at / 60) for at in MINUTES]
    points[10] = (points[10][0], 9000.0)
    points[50] = (points[50][0], 0.0)
    fit = line(points)
    assert fit.slope * 60 == pytest.approx(1.0)
    assert fit.start == pytest.approx(100.0)
    assert fit.growth == pytest.approx(89.0)


def test_a_line_needs_two_points() -> None:
    with pytest.raises(ValueError, match="two points"):
        line([(0.0, 1.0)])


def test_memory_that_wavers_is_flat() -> None:
    noise = random.Random(1)
    points = [(at, 120 * MIB + noise.uniform(-3, 3) * MIB) for at in MINUTES]
    assert memory("memory", points, runs=30).holds


@pytest.mark.parametrize(("mib_a_run", "holds"), [(0.01, True), (0.2, False)])
def test_memory_is_held_against_what_finished_runs_may_cost(mib_a_run: float, holds: bool) -> None:
    runs = 30
    points = [(at, 120 * MIB + mib_a_run * MIB * runs * at / MINUTES[-1]) for at in MINUTES]
    claim = memory("memory", points, runs)
    assert claim.holds == holds
    assert f"{mib_a_run * runs:+.2f} MiB in 1.48 h" in claim.text


def test_open_files_that_leak_one_in_ten_minutes_are_found() -> None:
    leak = [(at, 20.0 + at // 600) for at in MINUTES]
    wavers = [(at, 20.0 + number % 4) for number, at in enumerate(MINUTES)]
    assert not flat("files", leak, 2.0).holds
    assert flat("files", wavers, 2.0).holds


def test_only_the_process_that_lived_last_is_judged_and_not_its_first_minutes() -> None:
    old = [{"t": at, "operator": {"pod": "a"}} for at in MINUTES[:30]]
    gone: list[Any] = [{"t": 1800.0, "operator": {}}, {"t": 1860.0, "problem": "refused"}]
    new = [{"t": 1920 + at, "operator": {"pod": "b"}} for at in MINUTES]
    judged = last_process([*old, *gone, *new])
    assert judged == new[15:]
    assert last_process(gone) == []


def test_a_need_leaves_its_run_and_what_belongs_to_it() -> None:
    after = expected(BASE, needs=2, by_hand=1)
    assert after == {
        "pod": 4,
        "trainingrun": 4,
        "modelversion": 4,
        "configmap": 11,
        "controllerrevision": 5,
    }
    assert expected(BASE, 0, 0) == BASE


def test_figures_of_the_operator() -> None:
    found = cluster.figures(
        """# HELP process_open_fds Files.
process_open_fds 21.0
everloop_operator_tasks 60.0
everloop_operator_leader 1.0
everloop_operator_api_requests_total{resource="jobs",status="201",verb="create"} 3.0
everloop_operator_api_requests_total{resource="leases",status="200",verb="patch"} 900.0
everloop_operator_api_requests_total{resource="jobs",status="200",verb="get"} 7.0
everloop_operator_reconcile_errors_total{error="conflict",kind="Monitor"} 2.0
everloop_operator_reconcile_errors_total{error="bug",kind="Monitor"} 1.0
"""
    )
    assert (found["fds"], found["tasks"], found["leader"], found["writes"]) == (21, 60, 1, 3)
    assert found["bugs"] == 1
    assert found["errors"]['{error="conflict",kind="Monitor"}'] == 2


def _cycle(number: int, **changes: Any) -> dict[str, Any]:
    figures = {"pod": "b", "writes": 100.0 * number}
    return {
        "number": number,
        "needs": number,
        "runs": number,
        "byHand": 0,
        "base": BASE,
        "objects": expected(BASE, number, 0),
        "operator": figures,
        "seconds": {"run made": 30.0, "rest": 170.0},
        "answers": {"200": 3000 * number},
        "t": 178.0 * number,
        "disturbed": [],
        **changes,
    }


def _sample(at: float, **figures: float) -> dict[str, Any]:
    own = {"resident": 120.0 * MIB, "fds": 20.0, "tasks": 60.0, "dropped": 0.0, "bugs": 0.0}
    return {
        "t": at,
        "operator": {"pod": "b", "started": 1.0, "errors": {}} | own | figures,
        "objects": expected(BASE, int(at // 180), 0),
        "memory": {
            "soak-router-x/router": 40.0 * MIB,
            f"soak-v{at // 180}-y/model-server": 200.0 * MIB,
        },
    }


def test_a_soak_in_which_nothing_grows_holds() -> None:
    cycles = [_cycle(number) for number in range(1, 31)]
    samples = [_sample(at) for at in MINUTES]
    found = report.claims(samples, cycles, "")
    assert [claim.text for claim in found if not claim.holds] == []
    assert len(report.figures(samples, cycles)) == 5


@pytest.mark.parametrize(
    ("cycle", "figures", "problem", "text"),
    [
        ({"runs": 31}, {}, "", "30 needs, 31 runs"),
        (
            {"needs": 5, "runs": 5, "objects": expected(BASE, 5, 0)},
            {},
            "",
            "5 needs, at least 20 wanted",
        ),
        ({}, {"started": 9.0}, "", "processes led, 0 were ended by hand"),
        ({"t": 6000.0}, {}, "", "nothing measured for 660 s"),
        ({"answers": {"200": 9, "503": 1}}, {}, "", "only 200 wanted"),
        ({"objects": expected(BASE, 30, 0) | {"job": 1}}, {}, "", "cycle 30: job: 1, not 0"),
        ({}, {"tasks": 90.0}, "", "its tasks"),
        ({}, {"dropped": 1.0}, "", "1 Events dropped"),
        ({}, {}, "a run failed", "a run failed"),
    ],
)
def test_what_goes_wrong_fails_a_claim(
    cycle: dict[str, Any], figures: dict[str, float], problem: str, text: str
) -> None:
    cycles = [*(_cycle(number) for number in range(1, 30)), _cycle(30, **cycle)]
    samples = [
        _sample(at, **{name: value * at / MINUTES[-1] for name, value in figures.items()})
        for at in MINUTES
    ]
    failed = [claim.text for claim in report.claims(samples, cycles, problem) if not claim.holds]
    assert len(failed) == 1
    assert text in failed[0]


def test_of_each_server_the_most_counts_and_of_the_router_every_sample() -> None:
    samples = [
        {
            "t": 60.0 * number,
            "memory": {"soak-router-a/router": 9.0, f"soak-v{pod}/model-server": m},
        }
        for number, (pod, m) in enumerate([(1, 20.0), (1, 90.0), (2, 5.0), (2, 92.0), (2, 0.0)])
    ]
    assert report.container(samples, "soak", "model-server") == [(0.0, 90.0), (120.0, 92.0)]
    assert len(report.container(samples, "soak-router", "router")) == 5


def test_what_was_before_a_moment_can_be_left_out() -> None:
    cycles = [_cycle(number) for number in range(1, 31)]
    samples = [_sample(at, tasks=100 * at / 3600 if at < 1800 else 50) for at in MINUTES]
    assert all(claim.holds for claim in report.claims(samples, cycles, "", since=1800))


def test_too_short_a_soak_is_not_judged() -> None:
    found = report.claims([_sample(1000.0)], [_cycle(1)], "")
    assert [claim.text for claim in found if not claim.holds] == [
        "0 samples can be judged, 20 wanted"
    ]


def test_the_same_samples_give_the_same_picture(tmp_path: Path) -> None:
    samples = [_sample(at) for at in MINUTES] + [{"t": 6000.0, "problem": "refused"}]
    for name in ("a.svg", "b.svg"):
        chart.draw(samples, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
