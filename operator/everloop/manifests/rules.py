"""The rules of a Monitor as objects: a PrometheusRule, or a ConfigMap where that CRD is absent."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml

from everloop import contract
from everloop.api.durations import promql
from everloop.api.monitor import Monitor
from everloop.manifests.drift_rules import drift_rules
from everloop.manifests.health_rules import health_rules
from everloop.manifests.meta import meta
from everloop.manifests.promql import number
from everloop.manifests.rules_clock import RulesClock
from everloop.manifests.rules_common import Rule
from everloop.settings import Settings

DRIFT, HEALTH = "drift", "health"  # the two groups; part of their names
RULES_KEY = "rules.yaml"  # of the ConfigMap


def rules_name(monitor: str) -> str:
    """The name of a Monitor's PrometheusRule or ConfigMap."""
    return contract.child_name(monitor, "rules")


def rule_groups(monitor: Monitor, champion: str, settings: Settings) -> list[dict[str, Any]]:
    """The groups for the version that is champion now.

    A group's name ends in a digest of its content: Prometheus having a group of that name means it
    has these rules, not yesterday's.
    """
    clock = RulesClock.of(monitor.spec, settings)
    groups = [
        (DRIFT, clock.step, drift_rules(monitor, champion, settings)),
        (HEALTH, clock.scrape, health_rules(monitor, champion, settings)),
    ]
    return [_group(monitor, name, interval, rules) for name, interval, rules in groups if rules]


def build_prometheus_rule(monitor: Monitor, champion: str, settings: Settings) -> dict[str, Any]:
    """The PrometheusRule, with the labels by which the chart's Prometheus selects rules."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": _meta(monitor, settings, settings.rule_labels),
        "spec": {"groups": rule_groups(monitor, champion, settings)},
    }


def build_rules_config_map(monitor: Monitor, champion: str, settings: Settings) -> dict[str, Any]:
    """A rules file for a Prometheus without the operator: mount it and list it in `rule_files`."""
    groups = {"groups": rule_groups(monitor, champion, settings)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta(monitor, settings, {}),
        "data": {RULES_KEY: yaml.dump(groups, Dumper=_Dumper, sort_keys=False, width=100)},
    }


def group_kind(name: str) -> str:
    """DRIFT or HEALTH, from a group's name."""
    return name.split("/")[3]


def _group(monitor: Monitor, name: str, interval: float, rules: list[Rule]) -> dict[str, Any]:
    body = {"interval": promql(interval), "rules": rules}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
    place = f"{monitor.metadata.namespace}/{monitor.metadata.name}"
    return {"name": f"everloop/{place}/{name}/{digest}", **body}


def _meta(monitor: Monitor, settings: Settings, labels: dict[str, str]) -> dict[str, Any]:
    accelerated = {contract.ANNOTATION_CLOCK: number(settings.clock_speedup)}
    return meta(
        rules_name(monitor.metadata.name),
        monitor.metadata.namespace,
        contract.COMPONENT_RULES,
        labels={**labels, contract.LABEL_MONITOR: monitor.metadata.name},
        annotations=accelerated if settings.clock_speedup != 1 else None,
    )


class _Dumper(yaml.SafeDumper):
    """Expressions as blocks, so that people can read them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
