"""The PodMonitor of a Deployment: Prometheus scrapes its model servers and its routers."""

from __future__ import annotations

from typing import Any

from everloop import contract
from everloop.api.durations import promql
from everloop.manifests.meta import meta
from everloop.settings import Settings

# Series that are kept: ours, and the routers' counts of answers. Envoy has hundreds of others.
KEPT = "everloop_.+|envoy_cluster_upstream_rq(_.+)?"


def scrape_name(deployment: str) -> str:
    """The name of a Deployment's PodMonitor."""
    return contract.child_name(deployment, "scrape")


def build_pod_monitor(namespace: str, deployment: str, settings: Settings) -> dict[str, Any]:
    """One endpoint for both kinds of pods; routers differ in the path only.

    Target labels `deployment` and `model_version` come from the pods' labels, so `up` has them,
    too; where a series brings them itself, its own stay (honorLabels).
    """
    interval = settings.scrape_interval_seconds
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": meta(
            scrape_name(deployment),
            namespace,
            contract.COMPONENT_SCRAPE,
            labels={**settings.rule_labels, contract.LABEL_DEPLOYMENT: deployment},
        ),
        "spec": {
            "selector": {
                "matchLabels": {
                    contract.MANAGED_BY: contract.MANAGED_BY_VALUE,
                    contract.LABEL_DEPLOYMENT: deployment,
                }
            },
            "podMetricsEndpoints": [
                {
                    "port": contract.METRICS_PORT_NAME,
                    "path": "/metrics",
                    "interval": promql(interval),
                    "scrapeTimeout": promql(min(interval, 10.0)),
                    "honorLabels": True,
                    "relabelings": [
                        _relabel(contract.LABEL_DEPLOYMENT, "(.+)", "deployment", "$1"),
                        _relabel(contract.LABEL_MODEL_VERSION, "(.+)", "model_version", "$1"),
                        _relabel(
                            contract.LABEL_COMPONENT,
                            contract.COMPONENT_ROUTER,
                            "__metrics_path__",
                            "/stats/prometheus",
                        ),
                    ],
                    "metricRelabelings": [
                        {"action": "keep", "sourceLabels": ["__name__"], "regex": KEPT}
                    ],
                }
            ],
        },
    }


def _relabel(label: str, regex: str, target: str, replacement: str) -> dict[str, Any]:
    """Where the pod's label matches, the target's label becomes the replacement."""
    source = "".join(letter if letter.isalnum() else "_" for letter in label)
    return {
        "action": "replace",
        "sourceLabels": [f"__meta_kubernetes_pod_label_{source}"],
        "regex": regex,
        "targetLabel": target,
        "replacement": replacement,
    }
