"""The PodMonitor of a Deployment: Prometheus scrapes its model servers and its routers."""

from __future__ import annotations

from typing import Any

from everloop import contract
from everloop.api.durations import promql
from everloop.manifests.meta import meta
from everloop.settings import Settings

# What model servers are believed: their own series, and none of the operator's or the routers'.
OF_SERVERS = (
    contract.METRIC_REQUESTS,
    contract.METRIC_ERRORS,
    contract.METRIC_INVALID,
    f"{contract.METRIC_DURATION}_(bucket|sum|count)",
    contract.METRIC_BINS,
    contract.METRIC_REFERENCE,
    contract.METRIC_REFERENCE_ROWS,
    contract.METRIC_CALIBRATION,
    contract.METRIC_MODEL_INFO,
)
OF_ROUTERS = "envoy_cluster_upstream_rq(_.+)?"  # counts of answers; Envoy has hundreds of others
# Over `<model_version>;<name>`: the target of a server has a version, that of a router has none.
KEPT = f";{OF_ROUTERS}|.+;({'|'.join(OF_SERVERS)})"
# Where Prometheus puts a scraped label that the target has, too.
CLAIMED = "exported_.+"


def scrape_name(deployment: str) -> str:
    """The name of a Deployment's PodMonitor."""
    return contract.child_name(deployment, "scrape")


def build_pod_monitor(namespace: str, deployment: str, settings: Settings) -> dict[str, Any]:
    """One endpoint for both kinds of pods; routers differ in the path, and in what is kept.

    A server runs users' code, which may export anything. Who a series is about is what the target
    says (namespace, pod, job, and by the pods' labels `deployment` and `model_version`), never what
    the series says; and nobody but a router counts answers.
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
                    "honorLabels": False,
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
                        {
                            "action": "keep",
                            "sourceLabels": ["model_version", "__name__"],
                            "regex": KEPT,
                        },
                        {"action": "labeldrop", "regex": CLAIMED},
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
