"""The counts behind an analysis step, evaluated by promtool over series that real life makes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from promtool import promtool

from everloop.prometheus.rollout_queries import answers

SECONDS = 60  # of series, scraped every second
BEGAN = 10  # the step's beginning: counted is what comes after the scrape at 11


def series(labels: str, values: str) -> dict[str, str]:
    common = 'namespace="ml", deployment="flights"'
    return {"series": f"envoy_cluster_upstream_rq_xx{{{common}, {labels}}}", "values": values}


def version(name: str, code: str, pod: str = "router-0") -> str:
    return f'envoy_cluster_name="{name}", envoy_response_code_class="{code}", pod="{pod}"'


CASES = {
    "what came before the step is not counted": (
        [series(version("v2", "2"), f"1000+2x{SECONDS}")],
        {("v2", "2"): 2 * 49},
    ),
    "a series that is born with its first failures is counted from 0": (
        [series(version("v2", "5"), "_x30 7 7 9 9x28")],
        {("v2", "5"): 9},
    ),
    "a series that nobody adds to is 0": (
        [series(version("v2", "5"), f"3x{SECONDS}")],
        {("v2", "5"): 0},
    ),
    "what a router counted before its restart is kept": (
        [series(version("v2", "2"), "100+1x30 0+1x29")],
        {("v2", "2"): (130 - 111) + 29},
    ),
    "two restarts are two": (
        [series(version("v2", "2"), "100+1x20 0+1x19 0+1x19")],
        {("v2", "2"): (120 - 111) + 19 + 19},
    ),
    "a router that went counts with its last value": (
        [
            series(version("v2", "2", "router-0"), "0+1x30 stale"),
            series(version("v2", "2", "router-1"), "_x31 0+1x28"),
        ],
        {("v2", "2"): (30 - 11) + 28},
    ),
    "a scrape that fails at the beginning is no new life": (
        [series(version("v2", "2"), "1000+1x8 _x5 1014+1x46")],
        {("v2", "2"): 1060 - 1008},
    ),
    "versions, classes and routers are kept apart or added up as they should": (
        [
            series(version("v1", "2", "router-0"), f"0+9x{SECONDS}"),
            series(version("v1", "2", "router-1"), f"0+9x{SECONDS}"),
            series(version("v1", "5", "router-0"), f"0+1x{SECONDS}"),
            series(version("v2", "2", "router-0"), f"0+1x{SECONDS}"),
        ],
        {("v1", "2"): 2 * 9 * 49, ("v1", "5"): 49, ("v2", "2"): 49},
    ),
    "another Deployment's are not ours": (
        [
            {
                "series": 'envoy_cluster_upstream_rq_xx{namespace="ml", deployment="taxis", '
                'envoy_cluster_name="v2", envoy_response_code_class="2"}',
                "values": f"0+1x{SECONDS}",
            }
        ],
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_counts_since_the_step_began(name: str, tmp_path: Path) -> None:
    given, expected = CASES[name]
    query = answers("ml", "flights", since=BEGAN, now=SECONDS, scrape_seconds=1)
    assert query is not None
    samples = [
        {
            "labels": f'{{envoy_cluster_name="{cluster}", envoy_response_code_class="{code}"}}',
            "value": count,
        }
        for (cluster, code), count in expected.items()
    ]
    file = tmp_path / "test.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "evaluation_interval": "1s",
                "tests": [
                    {
                        "interval": "1s",
                        "input_series": given,
                        "promql_expr_test": [
                            {
                                "expr": query,
                                "eval_time": f"{SECONDS}s",
                                "exp_samples": samples,
                            }
                        ],
                    }
                ],
            }
        )
    )
    command = [promtool(), "test", "rules", str(file)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_there_is_nothing_to_ask_before_the_first_scrape_of_a_step() -> None:
    assert answers("ml", "flights", since=100, now=101, scrape_seconds=1) is None
    assert answers("ml", "flights", since=100, now=102, scrape_seconds=1) is not None


def test_a_step_of_weeks_is_asked_for_in_a_bounded_number_of_points() -> None:
    query = answers("ml", "flights", since=0, now=14 * 86400, scrape_seconds=1)
    assert query is not None
    assert ":1210s]" in query
