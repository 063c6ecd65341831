"""The rules as texts: the speedup changes durations only, groups are named by their content."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from monitors import make_monitor

from everloop import contract
from everloop.api.durations import seconds
from everloop.api.monitor import Monitor, MonitorSpec
from everloop.manifests.rules import (
    RULES_KEY,
    build_prometheus_rule,
    build_rules_config_map,
    rule_groups,
)
from everloop.manifests.rules_clock import RulesClock
from everloop.manifests.scrape import build_pod_monitor
from everloop.settings import Settings

# A duration, or the seconds of one in a factor; the digest of the content; and the note.
DURATION = re.compile(r"\[[0-9]+m?s\]|offset [0-9]+m?s|^[0-9]+m?s$|\* [0-9.]+ / [0-9.]+$")


def make(settings: Settings | None = None, **spec: Any) -> list[dict[str, Any]]:
    monitor = Monitor.model_validate(make_monitor(outputs={}, **spec))
    return rule_groups(monitor, "flights-v1", settings or Settings())


def test_a_speedup_changes_durations_only() -> None:
    spec = {"errors": {"rate": "0.05", "window": "2h", "for": "1h"}, "absence": {"for": "2h"}}
    real = make(Settings(scrape_interval_seconds=1), **spec)
    fast = make(Settings(scrape_interval_seconds=1, clock_speedup=60), **spec)
    assert _texts(real) != _texts(fast)
    assert [_mask(text) for text in _texts(real)] == [_mask(text) for text in _texts(fast)]


@pytest.mark.parametrize("speedup", [1.0, 60.0, 8640.0, 1e6])
@pytest.mark.parametrize("scrape", [1.0, 15.0, 60.0])
@pytest.mark.parametrize("window", ["10m", "1h", "1d", "7d"])
def test_steps_are_five_scrapes_and_windows_whole_steps(
    speedup: float, scrape: float, window: str
) -> None:
    spec = MonitorSpec.model_validate({"deployment": "x", "window": window, "inputs": {}})
    settings = Settings(clock_speedup=speedup, scrape_interval_seconds=scrape)
    clock = RulesClock.of(spec, settings)
    assert clock.step >= 5 * scrape
    assert clock.window / clock.step == pytest.approx(round(clock.window / clock.step))
    assert clock.window >= clock.step
    wanted = seconds(window) / speedup
    assert abs(clock.window - wanted) <= max(clock.step / 2, clock.step - wanted)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"inputs": {"threshold": "0.2"}}, "drift"),
        ({"minSamples": 151}, "drift"),
        ({"errors": {"rate": "0.06"}}, "health"),
    ],
)
def test_other_rules_make_another_group(change: dict[str, Any], kind: str) -> None:
    before = {group["name"] for group in make()}
    after = {group["name"] for group in make(**change)}
    changed = {name.split("/")[3] for name in after - before}
    assert changed == {kind}


def test_two_monitors_share_no_series() -> None:
    first = Monitor.model_validate(make_monitor())
    second = first.model_copy(
        update={"metadata": first.metadata.model_copy(update={"name": "other"})}
    )
    names = [
        {group["name"] for group in rule_groups(item, "flights-v1", Settings())}
        for item in (first, second)
    ]
    assert not names[0] & names[1]
    for group in rule_groups(second, "flights-v1", Settings()):
        assert 'everloop_monitor="flights-watch"' not in str(group)
        assert {rule["labels"]["everloop_monitor"] for rule in group["rules"]} == {"other"}


def test_the_config_map_has_the_same_groups() -> None:
    monitor = Monitor.model_validate(make_monitor())
    rule = build_prometheus_rule(monitor, "flights-v1", Settings())
    plain = build_rules_config_map(monitor, "flights-v1", Settings())
    assert yaml.safe_load(plain["data"][RULES_KEY]) == rule["spec"]


def test_rules_and_scraping_carry_the_charts_labels() -> None:
    settings = Settings(rule_labels={"release": "prometheus"})
    monitor = Monitor.model_validate(make_monitor())
    rule = build_prometheus_rule(monitor, "flights-v1", settings)
    scrape = build_pod_monitor("ml", "flights", settings)
    for item in (rule, scrape):
        assert item["metadata"]["labels"]["release"] == "prometheus"
        assert item["metadata"]["labels"][contract.MANAGED_BY] == contract.MANAGED_BY_VALUE


def test_servers_and_routers_are_scraped_at_their_own_path() -> None:
    (endpoint,) = build_pod_monitor("ml", "flights", Settings(scrape_interval_seconds=1))["spec"][
        "podMetricsEndpoints"
    ]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("1s", "1s")
    path = next(
        item for item in endpoint["relabelings"] if item["targetLabel"] == "__metrics_path__"
    )
    assert path["sourceLabels"] == ["__meta_kubernetes_pod_label_everloop_dev_component"]
    assert (path["regex"], path["replacement"]) == ("router", "/stats/prometheus")


def test_a_series_with_foreign_labels_cannot_win() -> None:
    """Users' code exports what it likes; tests/rules/test_scraping.py shows it to Prometheus."""
    (endpoint,) = build_pod_monitor("ml", "flights", Settings())["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is False
    targets = {item["targetLabel"] for item in endpoint["relabelings"]}
    assert {"deployment", "model_version"} <= targets
    keep, drop = endpoint["metricRelabelings"]
    assert (keep["action"], keep["sourceLabels"]) == ("keep", ["model_version", "__name__"])
    assert drop == {"action": "labeldrop", "regex": "exported_.+"}


@pytest.mark.parametrize(
    ("version", "name", "kept"),
    [
        ("flights-v1", contract.METRIC_REQUESTS, True),
        ("flights-v1", contract.METRIC_BINS, True),
        ("flights-v1", f"{contract.METRIC_DURATION}_bucket", True),
        ("flights-v1", "everloop_operator_leader", False),
        ("flights-v1", "envoy_cluster_upstream_rq_xx", False),
        ("flights-v1", "everloop:drift:over", False),
        ("flights-v1", "ALERTS", False),
        ("flights-v1", "up", False),
        ("", "envoy_cluster_upstream_rq_xx", True),
        ("", "envoy_cluster_upstream_rq", True),
        ("", "envoy_cluster_upstream_cx_total", False),
        ("", contract.METRIC_REQUESTS, False),
    ],
)
def test_servers_and_routers_are_believed_in_their_own_matters(
    version: str, name: str, kept: bool
) -> None:
    (endpoint,) = build_pod_monitor("ml", "flights", Settings())["spec"]["podMetricsEndpoints"]
    pattern = endpoint["metricRelabelings"][0]["regex"]  # Prometheus matches the whole
    assert (re.fullmatch(pattern, f"{version};{name}") is not None) == kept


def _texts(value: Any) -> list[str]:
    """Every string in order, but digests and the note about the clock."""
    if isinstance(value, dict):
        return [
            text
            for key, item in value.items()
            if key != "clock_speedup"
            for text in _texts(item.rpartition("/")[0] if key == "name" else item)
        ]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [str(value)]


def _mask(text: str) -> str:
    return "\n".join(DURATION.sub("<duration>", line) for line in text.splitlines())
