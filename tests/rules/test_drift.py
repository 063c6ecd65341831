"""Drift rules over synthetic traffic: a day is ten seconds, a step five scrapes of a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from promtool import RuleTest, check_rules

from everloop.api.monitor import Monitor
from everloop.manifests.rules import rule_groups
from everloop.settings import Settings
from everloop.statistics import psi

WINDOW = 10  # seconds
RATE = 40  # requests a second
REFERENCE = np.array([0.0, 0.1, 0.2, 0.4, 0.2, 0.1, 0.0])
SHIFTED = REFERENCE[::-1] * 0.3 + np.array([0, 0, 0, 0.1, 0.2, 0.3, 0.1])
ROWS = 50_000
FAST = Settings(clock_speedup=8640, scrape_interval_seconds=1)
SERVED = {"namespace": "ml", "deployment": "flights", "model_version": "flights-v1"}


def make_monitor(**spec: object) -> Monitor:
    return Monitor.model_validate(
        {
            "metadata": {"name": "watch", "namespace": "ml"},
            "spec": {
                "deployment": "flights",
                "minSamples": 150,
                "inputs": {},
                "retrain": {"signals": ["InputDrift"]},
                **spec,
            },
        }
    )


def make_test(monitor: Monitor | None = None, champion: str = "flights-v1") -> RuleTest:
    return RuleTest(monitor or make_monitor(), champion, FAST, "drift")


def traffic(seconds: int, shares: np.ndarray, rate: int = RATE, seed: int = 1) -> np.ndarray:
    """Rows per second and bin."""
    return np.random.default_rng(seed).multinomial(rate, shares / shares.sum(), size=seconds)


def serve(
    test: RuleTest,
    rows: np.ndarray,
    feature: str = "temp",
    *,
    side: str = "input",
    calibration: float | None = None,
    pod: str = "a",
    reset_at: int | None = None,
    version: str = "flights-v1",
) -> None:
    """The series of one pod that got these rows, one request a row."""
    labels = {**SERVED, "model_version": version, "pod": pod}
    column = {**labels, "side": side, "feature": feature}
    for number, counts in enumerate(counters(rows, reset_at).T):
        test.add("everloop_bin_rows_total", {**column, "bin": str(number)}, counts.tolist())
        share = [float(REFERENCE[number])] * len(counts)
        test.add("everloop_reference_fraction", {**column, "bin": str(number)}, share)
    steady = [1.0] * len(rows)
    test.add("everloop_reference_rows", {**labels, "side": side}, [ROWS * one for one in steady])
    requests = counters(rows.sum(axis=1, keepdims=True), reset_at)[:, 0]
    test.add("everloop_requests_total", labels, requests.tolist())
    if calibration is not None:
        window = {**column, "window": "1d"}
        test.add("everloop_calibration_psi", window, [calibration * one for one in steady])


def counters(rows: np.ndarray, reset_at: int | None = None) -> np.ndarray:
    """Cumulated; from `reset_at` on from 0 again, as when a container restarts."""
    total = rows.cumsum(axis=0)
    if reset_at is not None:
        total[reset_at:] -= total[reset_at - 1]
    return total


def test_what_is_computed_is_what_psi_py_says(tmp_path: Path) -> None:
    rows = traffic(31, SHIFTED)
    test = make_test()
    serve(test, rows)
    # at 20 s the window holds the increments since the scrape at 10 s
    now = rows[11:21].sum(axis=0)
    distance = psi.psi(list(now), list(REFERENCE * ROWS))
    bound = psi.sampling_bound(len(REFERENCE), 1, int(now.sum()), ROWS)
    test.expect('everloop:requests:window{everloop_monitor="watch"}', 20, int(now.sum()))
    test.expect("everloop:psi:window", 20, distance)
    test.expect("everloop:psi_sampling_bound:window", 20, bound)
    test.expect("everloop:psi_bound:window", 20, max(bound, 0.1))
    test.expect("everloop:psi_ratio:window", 20, distance / max(bound, 0.1))
    test.run(tmp_path)


def test_two_replicas_and_a_restart_count_as_one(tmp_path: Path) -> None:
    rows = traffic(31, SHIFTED)
    first = np.array([np.random.default_rng(2).binomial(second, 0.5) for second in rows])
    test = make_test()
    serve(test, first, pod="a", reset_at=14)
    serve(test, rows - first, pod="b")
    for at in (15, 20):
        for number, count in enumerate(rows[at - 4 : at + 1].sum(axis=0)):
            bin_rows = f'everloop:bin_rows:increment{{side="input", bin="{number}"}}'
            # near its zero increase() does not stretch a counter to the whole range
            test.expect(f"{bin_rows} <= bool {count + 1e-6}", at, 1)
            test.expect(f"{bin_rows} >= bool {count * 5 / 6 - 1e-6}", at, 1)
    test.expect("everloop:requests:increment", 30, int(rows[26:31].sum()))
    test.run(tmp_path)


def test_silent_without_drift(tmp_path: Path) -> None:
    test = make_test()
    for seed, feature in enumerate(["temp", "dewp", "wind", "hour", "humid"]):
        serve(test, traffic(121, REFERENCE, seed=seed), feature)
    for second in range(20, 121, 5):
        test.expect_firing("InputDrift", second, False)
    test.expect('max(everloop:drift:over{everloop_signal="InputDrift"})', 120, 0)
    test.run(tmp_path)


def test_fires_after_two_windows_and_ends_with_the_drift(tmp_path: Path) -> None:
    parts = [(40, REFERENCE), (40, SHIFTED), (41, REFERENCE)]
    test = make_test()
    serve(test, np.vstack([traffic(length, shares) for length, shares in parts]))
    test.expect_firing("InputDrift", 40, False)
    test.expect_firing("InputDrift", 40 + WINDOW, False)
    test.expect_firing("InputDrift", 40 + 2 * WINDOW, True)
    test.expect_firing("InputDrift", 80, True)
    test.expect_firing("InputDrift", 80 + 2 * WINDOW, False)
    test.run(tmp_path)


def test_a_burst_that_only_one_window_sees_is_not_enough(tmp_path: Path) -> None:
    parts = [(41, REFERENCE), (5, SHIFTED), (41, REFERENCE)]
    test = make_test()
    serve(test, np.vstack([traffic(length, shares) for length, shares in parts]))
    test.expect("everloop:psi_ratio:window > bool 1", 50, 1)
    for second in range(40, 86, 5):
        test.expect_firing("InputDrift", second, False)
    test.run(tmp_path)


@pytest.mark.parametrize("rates", [(10, 40), (40, 10), (10, 10)], ids=["before", "now", "both"])
def test_too_few_requests_in_either_window_give_no_verdict(
    rates: tuple[int, int], tmp_path: Path
) -> None:
    first, second = rates
    test = make_test()
    parts = [traffic(21, SHIFTED, first), traffic(WINDOW, SHIFTED, second)]
    serve(test, np.vstack(parts))
    test.expect_firing("InputDrift", 30, False)
    test.expect("count(everloop:drift:ratio) or vector(0)", 30, 0)
    test.expect("count(everloop:drift:over) or vector(0)", 30, 0)
    test.run(tmp_path)


@pytest.mark.parametrize(
    ("calibration", "fires"), [(0.05, True), (1e3, False)], ids=["calm", "restless"]
)
def test_calibration_raises_the_bound(calibration: float, fires: bool, tmp_path: Path) -> None:
    test = make_test()
    serve(test, traffic(41, SHIFTED), calibration=calibration)
    test.expect_firing("InputDrift", 40, fires)
    test.run(tmp_path)


@pytest.mark.parametrize(("window", "name"), [("2d", "1d"), ("7d", "7d"), ("30m", "1h")])
def test_calibration_is_of_the_next_shorter_window(window: str, name: str, tmp_path: Path) -> None:
    monitor = make_monitor(window=window)
    test = make_test(monitor)
    serve(test, traffic(10, REFERENCE))
    bounds = {"1h": 1.0, "6h": 2.0, "1d": 3.0, "7d": 4.0}
    column = {**SERVED, "pod": "a", "side": "input", "feature": "temp"}
    for own, value in bounds.items():
        test.add("everloop_calibration_psi", {**column, "window": own}, [value] * 11)
    test.expect("everloop:psi_bound:window", 10, bounds[name])
    test.run(tmp_path)


def test_a_version_that_is_no_longer_champion_is_not_looked_at(tmp_path: Path) -> None:
    test = make_test(champion="flights-v2")
    serve(test, traffic(41, SHIFTED), version="flights-v1")
    serve(test, traffic(41, REFERENCE), version="flights-v2", pod="b")
    test.expect_firing("InputDrift", 40, False)
    test.expect('count(everloop:drift:over{model_version="flights-v2"})', 40, 1)
    test.run(tmp_path)


def test_only_the_named_features_are_looked_at(tmp_path: Path) -> None:
    test = make_test(make_monitor(inputs={"features": ["temp", "de.p"]}))
    serve(test, traffic(41, REFERENCE), "temp")
    serve(test, traffic(41, SHIFTED), "dewp")
    test.expect("count(everloop:drift:ratio)", 40, 1)
    test.expect_firing("InputDrift", 40, False)
    test.run(tmp_path)


def test_one_alert_however_many_columns_drift(tmp_path: Path) -> None:
    test = make_test(make_monitor(outputs={}))
    for seed, feature in enumerate(["temp", "dewp", "wind"]):
        serve(test, traffic(41, SHIFTED, seed=seed), feature)
    serve(test, traffic(41, SHIFTED), "predict_proba", side="output")
    test.expect('count(ALERTS{alertstate="firing"})', 40, 2)
    test.expect_firing("InputDrift", 40, True)
    test.expect_firing("OutputDrift", 40, True)
    test.run(tmp_path)


def test_rejected_requests_are_not_samples(tmp_path: Path) -> None:
    rows = traffic(41, SHIFTED, rate=10)
    test = make_test()
    serve(test, rows)
    labels = {**SERVED, "pod": "a"}
    test.add("everloop_requests_total", labels, [50 * second for second in range(41)])
    invalid = {**labels, "reason": "MissingInput"}
    test.add("everloop_invalid_inputs_total", invalid, [30 * second for second in range(41)])
    test.add("everloop_errors_total", labels, [10 * second for second in range(41)])
    test.expect("everloop:requests:window", 40, 100)
    test.expect_firing("InputDrift", 40, False)
    test.run(tmp_path)


@pytest.mark.parametrize("settings", [Settings(), FAST], ids=["real time", "accelerated"])
@pytest.mark.parametrize("deployment", ["flights", "a"])
def test_promtool_accepts_the_rules(settings: Settings, deployment: str, tmp_path: Path) -> None:
    monitor = make_monitor(
        deployment=deployment,
        inputs={"features": ['dis"tance', "back\\slash", "dep.hour", "new\nline", "{{.}}"]},
        outputs={},
        errors={"rate": "0.01"},
        absence={},
    )
    said = check_rules(rule_groups(monitor, "flights-v1", settings), tmp_path)
    assert "39 rules found" in said
