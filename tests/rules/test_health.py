"""Rules for failing requests and absent servers, evaluated every second over synthetic series."""

from __future__ import annotations

from pathlib import Path

import pytest
from promtool import RuleTest, Value

from everloop.api.monitor import Monitor
from everloop.settings import Settings

FAST = Settings(clock_speedup=1, scrape_interval_seconds=1)
PLACE = {"namespace": "ml", "deployment": "flights"}
SERVER = {**PLACE, "model_version": "flights-v1", "pod": "server"}
ROUTED = {**PLACE, "envoy_cluster_name": "flights-v1", "pod": "router"}


def make_test(champion: str = "flights-v1", **spec: object) -> RuleTest:
    monitor = Monitor.model_validate(
        {
            "metadata": {"name": "watch", "namespace": "ml"},
            "spec": {"deployment": "flights", "minSamples": 50, **spec},
        }
    )
    return RuleTest(monitor, champion, FAST, "health")


def answers(test: RuleTest, good: list[int], bad: list[int], **labels: str) -> None:
    """Answers per second of both classes; a class shows up with its first answer, as in Envoy."""
    for code, each in (("2", good), ("5", bad)):
        total, values = 0, []
        for count in each:
            total += count
            values.append(total or None)
        labels_of_class = {**ROUTED, **labels, "envoy_response_code_class": code}
        test.add("envoy_cluster_upstream_rq_xx", labels_of_class, values)


ERRORS = {"rate": "0.05", "window": "10s"}


def test_a_flip_of_the_error_rate_fires_with_the_next_scrape(tmp_path: Path) -> None:
    test = make_test(errors=ERRORS)
    answers(test, [30] * 20 + [0] * 10, [0] * 20 + [30] * 10)
    test.expect_firing("ErrorsHigh", 19, False)
    test.expect('everloop:health:over{everloop_signal="ErrorsHigh"}', 19, 0)
    test.expect_firing("ErrorsHigh", 20, True)
    test.run(tmp_path)


def test_it_ends_when_errors_end(tmp_path: Path) -> None:
    test = make_test(errors=ERRORS)
    answers(test, [30] * 20 + [0] * 10 + [30] * 30, [0] * 20 + [30] * 10 + [0] * 30)
    test.expect_firing("ErrorsHigh", 30, True)
    test.expect_firing("ErrorsHigh", 45, False)
    test.run(tmp_path)


@pytest.mark.parametrize(("bad", "fires"), [(1, False), (3, True)])
def test_the_share_of_all_answers_counts(bad: int, fires: bool, tmp_path: Path) -> None:
    test = make_test(errors=ERRORS)
    answers(test, [30] * 40, [bad] * 40)
    test.expect_firing("ErrorsHigh", 39, fires)
    test.run(tmp_path)


def test_it_must_hold_for_as_long_as_asked(tmp_path: Path) -> None:
    test = make_test(errors={**ERRORS, "for": "5s"})
    answers(test, [30] * 20 + [0] * 20, [0] * 20 + [30] * 20)
    test.expect_firing("ErrorsHigh", 23, False)
    test.expect_firing("ErrorsHigh", 29, True)
    test.run(tmp_path)


def test_a_single_failure_in_little_traffic_is_no_verdict(tmp_path: Path) -> None:
    test = make_test(errors=ERRORS)
    answers(test, [1] * 40, [0] * 20 + [1] + [0] * 19)
    test.expect_firing("ErrorsHigh", 25, False)
    test.expect("count(everloop:health:over) or vector(0)", 25, 0)
    test.run(tmp_path)


def test_a_burst_that_is_over_with_one_scrape_is_seen(tmp_path: Path) -> None:
    test = make_test(errors=ERRORS)
    answers(test, [30] * 40, [0] * 20 + [60] + [0] * 19)
    test.expect("everloop:error_rate:window > bool 0.05", 25, 1)
    test.expect_firing("ErrorsHigh", 35, False)
    test.run(tmp_path)


def test_a_prometheus_that_starts_late_does_not_take_old_errors_for_new(tmp_path: Path) -> None:
    test = make_test(errors=ERRORS)
    for code, begin, rate in (("2", 5000.0, 30), ("5", 5000.0, 0)):
        counts = [begin + rate * second for second in range(20)]
        labels = {**ROUTED, "envoy_response_code_class": code}
        test.add("envoy_cluster_upstream_rq_xx", labels, [*([None] * 20), *counts])
    for second in range(21, 40, 3):
        test.expect_firing("ErrorsHigh", second, False)
    test.expect("everloop:error_rate:window", 39, 0)
    test.run(tmp_path)


def test_errors_of_another_version_or_deployment_are_not_ours(tmp_path: Path) -> None:
    test = make_test(errors=ERRORS)
    answers(test, [30] * 40, [0] * 40)
    answers(test, [0] * 40, [30] * 40, envoy_cluster_name="flights-v2")
    answers(test, [0] * 40, [30] * 40, deployment="fights")
    answers(test, [0] * 40, [30] * 40, namespace="other")
    test.expect_firing("ErrorsHigh", 39, False)
    test.expect("everloop:error_rate:window", 39, 0)
    test.run(tmp_path)


def test_errors_are_counted_over_all_routers(tmp_path: Path) -> None:
    test = make_test(errors=ERRORS)
    answers(test, [30] * 40, [0] * 40, pod="one")
    answers(test, [0] * 40, [30] * 40, pod="two")
    test.expect("everloop:error_rate:window", 39, 0.5)
    test.run(tmp_path)


def test_servers_that_vanish_are_absent(tmp_path: Path) -> None:
    test = make_test(absence={"for": "0s"})
    test.add("everloop_model_info", SERVER, [1] * 20 + ["stale"])
    test.expect_firing("Absent", 19, False)
    test.expect('everloop:health:over{everloop_signal="Absent"}', 19, 0)
    test.expect_firing("Absent", 21, True)
    test.expect_firing("Absent", 7000, True)
    test.run(tmp_path)


def test_servers_that_come_back_are_not_absent(tmp_path: Path) -> None:
    test = make_test(absence={"for": "0s"})
    gone: list[Value] = ["stale", *([None] * 10)]
    test.add("everloop_model_info", SERVER, [*([1.0] * 20), *gone, *([1.0] * 10)])
    test.expect_firing("Absent", 25, True)
    test.expect_firing("Absent", 32, False)
    test.run(tmp_path)


def test_a_champion_that_was_never_scraped_is_not_absent_yet(tmp_path: Path) -> None:
    test = make_test(champion="flights-v2", absence={"for": "0s"})
    test.add("everloop_model_info", SERVER, [1] * 30)
    test.expect_firing("Absent", 29, False)
    test.expect("count(everloop:health:over) or vector(0)", 29, 0)
    test.run(tmp_path)


def test_one_replica_of_two_that_vanishes_is_not_absence(tmp_path: Path) -> None:
    test = make_test(absence={"for": "0s"})
    test.add("everloop_model_info", {**SERVER, "pod": "a"}, [1] * 10 + ["stale"])
    test.add("everloop_model_info", {**SERVER, "pod": "b"}, [1] * 30)
    test.expect_firing("Absent", 29, False)
    test.run(tmp_path)


def test_targets_are_those_of_the_champion_and_the_routers(tmp_path: Path) -> None:
    test = make_test(absence={"for": "0s"})
    test.add("up", SERVER, [1] * 10 + [0] * 10)
    test.add("up", {**PLACE, "pod": "router"}, [1] * 20)
    test.add("up", {**SERVER, "model_version": "flights-v2"}, [0] * 20)
    test.expect("everloop:targets:down", 9, 0)
    test.expect("everloop:targets:down", 15, 1)
    test.run(tmp_path)
