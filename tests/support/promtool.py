"""Runs a Monitor's rules over synthetic series with promtool, as Prometheus would evaluate them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from everloop.api.monitor import Monitor
from everloop.manifests.promql import quote
from everloop.manifests.rules import group_kind, rule_groups
from everloop.settings import Settings

ROOT = Path(__file__).parents[2]
Value = float | Literal["stale"] | None


@cache
def promtool() -> str:
    """The binary; built once into the dev cluster's cache if it is missing."""
    command = [sys.executable, "-m", "devcluster", "binary", "promtool"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"promtool cannot be had:\n{found.stdout}{found.stderr}"
    return found.stdout.strip().splitlines()[-1]


def check_rules(groups: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """What `promtool check rules` says; asserts that it finds nothing wrong."""
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": list(groups)}))
    return _run("check", file)


def run_tests(
    groups: Sequence[Mapping[str, Any]],
    series: Mapping[str, str],
    checks: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    interval: str,
) -> None:
    """Evaluate groups over series in promtool's notation, one value an interval."""
    check_rules(groups, folder)
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": groups[0].get("interval", interval),
        "tests": [
            {
                "interval": interval,
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "promql_expr_test": list(checks),
            }
        ],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump(test, width=10**9))
    _run("test", file)


@dataclass
class RuleTest:
    """One group of a Monitor's rules, series second by second, and what should come out.

    promtool evaluates all groups at one pace, so the group says the pace.
    """

    monitor: Monitor
    champion: str
    settings: Settings
    group: str
    series: dict[str, list[Value]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, labels: Mapping[str, str], values: Sequence[Value]) -> None:
        """A series scraped every second from 0 on.

        None is a scrape without it; "stale" is how Prometheus marks that its target went away.
        """
        matchers = ", ".join(f"{key}={quote(value)}" for key, value in labels.items())
        self.series[f"{name}{{{matchers}}}"] = list(values)

    def expect(self, expression: str, at: float, value: float) -> None:
        """The one value (to six decimals) of an expression after that many seconds."""
        self.checks.append(
            {
                "expr": f"round(vector(scalar({expression})), 0.000001)",
                "eval_time": f"{round(at * 1000)}ms",
                "exp_samples": [{"labels": "{}", "value": round(float(value), 6)}],
            }
        )

    def expect_firing(self, signal: str, at: float, firing: bool) -> None:
        """Whether the alert of a signal fires then."""
        alerts = f'ALERTS{{everloop_signal={quote(signal)}, alertstate="firing"}}'
        self.expect(f"count({alerts}) or vector(0)", at, int(firing))

    def run(self, folder: Path) -> None:
        """Run promtool; what it finds different is the assertion's text."""
        groups = [
            group
            for group in rule_groups(self.monitor, self.champion, self.settings)
            if group_kind(group["name"]) == self.group
        ]
        series = {name: " ".join(map(_sample, values)) for name, values in self.series.items()}
        run_tests(groups, series, self.checks, folder, interval="1s")


def _run(verb: str, file: Path) -> str:
    command = [promtool(), verb, "rules", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def _sample(value: Value) -> str:
    if isinstance(value, str):
        return value
    return "_" if value is None else f"{value:g}" if value == int(value) else repr(value)
