"""The router of a Deployment: an Envoy, its files, and the address that clients use.

One pod by default: it holds no state, and its successor is ready before it goes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from everloop import contract
from everloop.api.deployment import Deployment
from everloop.manifests.meta import meta
from everloop.manifests.pod import our_container, pod_spec
from everloop.manifests.router_config import BOOTSTRAP, IN_POD, Endpoint, router_files
from everloop.manifests.router_routes import WEIGHTS_PATH
from everloop.settings import Settings

Dict = dict[str, Any]

CONTAINER = "router"
CLIENT_PORT = 80
REPLICAS = 1
LEAVE_SECONDS = 10  # kube-proxy has long forgotten the pod by then
RESOURCES = {
    "requests": {"cpu": "50m", "memory": "64Mi"},
    "limits": {"memory": "512Mi"},
}


def router_name(deployment: str) -> str:
    """Name of the router's apps/Deployment and ConfigMap.

    >>> router_name("flights")
    'flights-router'
    """
    return contract.child_name(deployment, "router")


def router_labels(deployment: Deployment) -> dict[str, str]:
    """Labels of everything that belongs to the router."""
    return {
        contract.LABEL_DEPLOYMENT: deployment.metadata.name,
        contract.LABEL_MODEL: deployment.spec.model_name,
    }


def router_selector(deployment: str) -> dict[str, str]:
    """Which pods are the router."""
    return {
        contract.LABEL_COMPONENT: contract.COMPONENT_ROUTER,
        contract.LABEL_DEPLOYMENT: deployment,
    }


def config_digest(files: Mapping[str, str]) -> str:
    """What the live pods are annotated with: it changes whenever a file does."""
    text = "".join(f"{name}\0{content}\0" for name, content in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build_router_config(
    deployment: Deployment, endpoints: Sequence[Endpoint], weights: Mapping[str, int]
) -> Dict:
    """The ConfigMap with the router's files."""
    name = deployment.metadata.name
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta(
            router_name(name),
            deployment.metadata.namespace,
            contract.COMPONENT_ROUTER,
            router_labels(deployment),
        ),
        "data": router_files(name, endpoints, weights),
    }


def build_router(deployment: Deployment, settings: Settings, files: Mapping[str, str]) -> Dict:
    """The router's apps/Deployment. Only the bootstrap file in `files` makes new pods."""
    name, namespace = deployment.metadata.name, deployment.metadata.namespace
    labels = router_labels(deployment)
    container = our_container(
        settings,
        CONTAINER,
        settings.router_image,
        ["envoy", "-c", f"{IN_POD.folder}/{BOOTSTRAP}", "--disable-hot-restart"],
        # As many threads as a small share of a node can use; the default is one for each core.
        args=["--concurrency", "2", "--log-level", "warning"],
        mounts=[{"name": "config", "mountPath": IN_POD.folder, "readOnly": True}],
        resources=RESOURCES,
        ports=[
            {"name": "http", "containerPort": IN_POD.http_port, "protocol": "TCP"},
            {
                "name": contract.METRICS_PORT_NAME,
                "containerPort": IN_POD.status_port,
                "protocol": "TCP",
            },
        ],
        readinessProbe=_probe(period=1, timeout=2, failures=5),
        livenessProbe=_probe(period=20, timeout=15, failures=6),
        lifecycle={"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    # Node placement and pull secrets of the chart hold here too; credentials of the model do not.
    _, extra_annotations, spec = pod_spec(
        settings,
        None,
        containers=[container],
        volumes=[
            {"name": "config", "configMap": {"name": router_name(name), "defaultMode": 0o444}}
        ],
    )
    spec["terminationGracePeriodSeconds"] = LEAVE_SECONDS + 20
    bootstrap = hashlib.sha256(files[BOOTSTRAP].encode()).hexdigest()[:16]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(router_name(name), namespace, contract.COMPONENT_ROUTER, labels),
        "spec": {
            "replicas": REPLICAS,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": router_selector(name)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": {
                "metadata": {
                    "labels": meta("", "", contract.COMPONENT_ROUTER, labels)["labels"],
                    "annotations": {
                        **extra_annotations,
                        contract.ANNOTATION_BOOTSTRAP: bootstrap,
                    },
                },
                "spec": spec,
            },
        },
    }


def build_client_service(deployment: Deployment) -> Dict:
    """The stable address: it bears the Deployment's own name."""
    name = deployment.metadata.name
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(
            name,
            deployment.metadata.namespace,
            contract.COMPONENT_ROUTER,
            router_labels(deployment),
        ),
        "spec": {
            "selector": router_selector(name),
            "ports": [
                {"name": "http", "port": CLIENT_PORT, "targetPort": "http", "protocol": "TCP"}
            ],
        },
    }


def build_sync_patch(namespace: str, name: str, uid: str, digest: str) -> Dict:
    """An annotation on a live router pod: the kubelet then looks at its ConfigMap at once."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "annotations": {contract.ANNOTATION_SYNC: digest},
        },
    }


def _probe(*, period: int, timeout: int, failures: int) -> Dict:
    """`/weights` answers once listeners and routes are there."""
    return {
        "httpGet": {
            "path": WEIGHTS_PATH,
            "port": contract.METRICS_PORT_NAME,
            "scheme": "HTTP",
        },
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
