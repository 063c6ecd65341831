"""The chart's alerts on the operator itself: each fires when it should, and none at rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from chart import MONITORING, MONITORING_RULES, find, of_kind, rendered
from promtool import check_rules, run_tests

JOB = 'job="everloop-system/everloop", namespace="everloop-system"'
MINUTES = 40
STEP = "15s"
STEPS = MINUTES * 4
NAMES = [
    "EverloopOperatorAbsent",
    "EverloopOperatorNoLeader",
    "EverloopOperatorTwoLeaders",
    "EverloopOperatorWatchDead",
    "EverloopOperatorErrors",
    "EverloopOperatorBug",
    "EverloopOperatorRightMissing",
    "EverloopOperatorQueueStuck",
    "EverloopOperatorIntakeFailing",
]


def groups() -> list[dict[str, Any]]:
    objects = rendered(*MONITORING, *MONITORING_RULES)
    found: list[dict[str, Any]] = find(objects, "PrometheusRule", "everloop-operator")["spec"][
        "groups"
    ]
    return found


def series(name: str, labels: str = "", pod: str = "a") -> str:
    extra = f", {labels}" if labels else ""
    return f'everloop_operator_{name}{{{JOB}, pod="{pod}"{extra}}}'


@dataclass
class Operator:
    """What Prometheus scraped of two replicas at rest, in promtool's notation; tests change it."""

    values: dict[str, str] = field(
        default_factory=lambda: {
            f'up{{{JOB}, pod="a"}}': f"1x{STEPS}",
            f'up{{{JOB}, pod="b"}}': f"1x{STEPS}",
            series("leader"): f"1x{STEPS}",
            series("leader", pod="b"): f"0x{STEPS}",
            series("queue_depth"): f"0x{STEPS}",
            series("queue_depth", pod="b"): f"0x{STEPS}",
            series("watches_dead"): f"0x{STEPS}",
            series("reconcile_seconds_count", 'kind="Monitor"'): f"0+10x{STEPS}",
            series("reconcile_errors_total", 'kind="Monitor", error="bug"'): f"0x{STEPS}",
            series("outcomes_total", 'name="intake-failed"'): f"0x{STEPS}",
        }
    )

    def firing(self, folder: Path, expected: set[str]) -> None:
        """promtool says that exactly these fire after MINUTES."""
        checks = [
            {
                "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                "eval_time": f"{MINUTES}m",
                "exp_samples": [{"labels": "{}", "value": int(name in expected)}],
            }
            for name in NAMES
        ]
        run_tests(groups(), self.values, checks, folder, interval=STEP)


def test_the_rules_are_valid_and_all_are_tested(tmp_path: Path) -> None:
    found = groups()
    check_rules(found, tmp_path)
    assert [rule["alert"] for rule in found[0]["rules"]] == NAMES


def test_at_rest_nothing_fires(tmp_path: Path) -> None:
    Operator().firing(tmp_path, set())


BROKEN: dict[str, tuple[dict[str, str], set[str]]] = {
    "gone": (
        {
            f'up{{{JOB}, pod="a"}}': f"0x{STEPS}",
            f'up{{{JOB}, pod="b"}}': f"1x{STEPS // 2} stale",
        },
        {"EverloopOperatorAbsent"},
    ),
    "no-leader": ({series("leader"): f"0x{STEPS}"}, {"EverloopOperatorNoLeader"}),
    "two-leaders": ({series("leader", pod="b"): f"1x{STEPS}"}, {"EverloopOperatorTwoLeaders"}),
    "dead-watch": ({series("watches_dead"): f"0x{STEPS // 2} 1x{STEPS // 2}"},
                   {"EverloopOperatorWatchDead"}),
    "errors": (
        {series("reconcile_errors_total", 'kind="Monitor", error="transient"'): f"0+2x{STEPS}"},
        {"EverloopOperatorErrors"},
    ),
    "few-errors": (
        {series("reconcile_errors_total", 'kind="Monitor", error="transient"'): f"0+0.5x{STEPS}"},
        set(),
    ),
    "a-bug": (
        {
            series("reconcile_errors_total", 'kind="Monitor", error="bug"'): (
                f"0x{STEPS - 20} 1x20"
            )
        },
        {"EverloopOperatorBug"},
    ),
    "forbidden": (
        {series("api_requests_total", 'verb="list", resource="pods", status="403"'):
            f"1+1x{STEPS}"},
        {"EverloopOperatorRightMissing"},
    ),
    "stuck": (
        {
            series("queue_depth"): f"7x{STEPS}",
            series("reconcile_seconds_count", 'kind="Monitor"'): f"100x{STEPS}",
        },
        {"EverloopOperatorQueueStuck"},
    ),
    "busy": ({series("queue_depth"): f"900x{STEPS}"}, set()),
    "intake": (
        {series("outcomes_total", 'name="intake-failed"'): f"0x{STEPS // 2} 0+1x{STEPS // 2}"},
        {"EverloopOperatorIntakeFailing"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_told(change: dict[str, str], expected: set[str], tmp_path: Path) -> None:
    operator = Operator()
    operator.values |= change
    operator.firing(tmp_path, expected)


def test_switched_off_there_is_none() -> None:
    objects = rendered(*MONITORING, *MONITORING_RULES, "--set", "metrics.enabled=false")
    assert of_kind(objects, "PrometheusRule", "PodMonitor") == []
