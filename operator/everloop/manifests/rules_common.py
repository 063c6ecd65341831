"""What all rules of a Monitor share: the labels they carry, and how one is written."""

from __future__ import annotations

from typing import Any

from everloop.api.durations import promql
from everloop.api.monitor import Monitor
from everloop.manifests.promql import number, quote
from everloop.settings import Settings

Rule = dict[str, Any]

LABEL_NAMESPACE = "everloop_namespace"
LABEL_MONITOR = "everloop_monitor"
LABEL_SIGNAL = "everloop_signal"
LABEL_VERSION = "model_version"

REQUESTS = "everloop:requests:window"  # requests whose rows were counted


def own_labels(monitor: Monitor, champion: str) -> dict[str, str]:
    """Labels of every series and alert of a Monitor while it watches this version."""
    return {
        LABEL_NAMESPACE: monitor.metadata.namespace,
        LABEL_MONITOR: monitor.metadata.name,
        LABEL_VERSION: champion,
    }


def selector(**labels: str) -> str:
    """Matchers for exactly these labels, without the braces.

    >>> selector(namespace="ml", deployment="flights")
    'namespace="ml", deployment="flights"'
    """
    return ", ".join(f"{name}={quote(value)}" for name, value in labels.items())


def record(name: str, expression: str, labels: dict[str, str]) -> Rule:
    """A recording rule; `labels` are put on the series."""
    return {"record": name, "expr": expression, "labels": labels}


def alert(
    monitor: Monitor,
    champion: str,
    signal: str,
    *,
    expression: str,
    hold: float,
    settings: Settings,
    annotations: dict[str, str],
) -> Rule:
    """The one alert of a signal, e.g. EverloopInputDrift; `hold` is its `for` in seconds."""
    return {
        "alert": f"Everloop{signal}",
        "expr": expression,
        "for": promql(hold),
        "labels": {**own_labels(monitor, champion), LABEL_SIGNAL: signal, "severity": "warning"},
        "annotations": {
            **annotations,
            "deployment": monitor.spec.deployment,
            "clock_speedup": number(settings.clock_speedup),
        },
    }
