"""Model servers: one apps/Deployment and one headless Service for each live version.

A server's address answers for its version alone; clients use the router's (manifests/router.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from everloop import contract
from everloop.api.deployment import Deployment
from everloop.api.modelversion import Artifact, ModelVersion, Profile, Signature
from everloop.manifests.meta import meta
from everloop.manifests.pod import PYTHON, apart, our_container, pod_spec, variable
from everloop.settings import Settings

Dict = dict[str, Any]

CONTAINER = "model-server"
MODEL_DIR = "/model"  # emptyDir: the artifact's bytes
# Longer than a router may go on sending to a pod that has left DNS: cluster DNS may answer from its
# cache for 30 s, the router asks every 2 s.
LEAVE_SECONDS = 35
FINISH_SECONDS = 30  # after that, for requests in flight
DEFAULT_RESOURCES = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"memory": "1Gi"},
}


@dataclass(frozen=True)
class Served:
    """What a server needs to know of a version: kept in the history too, so that a champion whose
    ModelVersion is gone can still be served."""

    name: str
    number: int
    model_name: str
    artifact: Artifact
    profile: Profile | None = None
    signature: Signature | None = None

    @classmethod
    def of(cls, version: ModelVersion) -> Served:
        """From the registry."""
        spec = version.spec
        return cls(
            version.metadata.name,
            spec.version,
            spec.model_name,
            spec.artifact,
            spec.profile,
            spec.signature,
        )

    def to_dict(self) -> Dict:
        """As kept in a record of the history."""
        parts: Dict = {
            "name": self.name,
            "number": self.number,
            "modelName": self.model_name,
            "artifact": self.artifact.to_dict(),
        }
        if self.profile:
            parts["profile"] = self.profile.to_dict()
        if self.signature:
            parts["signature"] = self.signature.to_dict()
        return parts

    @classmethod
    def from_dict(cls, parts: Dict) -> Served:
        """From a record of the history. Raises KeyError or ValueError if it is not one."""
        profile, signature = parts.get("profile"), parts.get("signature")
        if type(parts["number"]) is not int:
            raise ValueError(f"not the number of a version: {parts['number']}")
        return cls(
            str(parts["name"]),
            parts["number"],
            str(parts["modelName"]),
            Artifact.model_validate(parts["artifact"]),
            Profile.model_validate(profile) if profile else None,
            Signature.model_validate(signature) if signature else None,
        )


def server_name(deployment: str, number: int) -> str:
    """Name of the apps/Deployment and of the Service of one version.

    >>> server_name("flights", 7)
    'flights-v7'
    """
    return contract.child_name(deployment, f"v{number}")


def server_labels(deployment: Deployment, version: str) -> dict[str, str]:
    """Labels of everything that serves one version."""
    return {
        contract.LABEL_DEPLOYMENT: deployment.metadata.name,
        contract.LABEL_MODEL: deployment.spec.model_name,
        contract.LABEL_MODEL_VERSION: version,
    }


def server_selector(deployment: str, version: str) -> dict[str, str]:
    """Which pods serve one version: immutable once created, so as few labels as will do."""
    return {
        contract.LABEL_COMPONENT: contract.COMPONENT_SERVER,
        contract.LABEL_DEPLOYMENT: deployment,
        contract.LABEL_MODEL_VERSION: version,
    }


def build_server(
    deployment: Deployment, served: Served, settings: Settings, annotations: dict[str, str]
) -> Dict:
    """The apps/Deployment of one version. A new pod is ready before an old one goes."""
    name, namespace = deployment.metadata.name, deployment.metadata.namespace
    runtime = deployment.spec.runtime
    labels = server_labels(deployment, served.name)
    extra_labels, extra_annotations, spec = pod_spec(
        settings,
        runtime.pod,
        containers=[_container(deployment, served, settings)],
        volumes=[{"name": "model", "emptyDir": {}}],
    )
    spec["terminationGracePeriodSeconds"] = LEAVE_SECONDS + FINISH_SECONDS
    spec.setdefault("affinity", apart(server_selector(name, served.name)))
    ours = meta("", "", contract.COMPONENT_SERVER, labels)["labels"]
    pod_metadata: Dict = {"labels": {**extra_labels, **ours}}
    if extra_annotations:
        pod_metadata["annotations"] = extra_annotations
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(
            server_name(name, served.number),
            namespace,
            contract.COMPONENT_SERVER,
            labels,
            annotations,
        ),
        "spec": {
            "replicas": runtime.replicas,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": server_selector(name, served.name)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": {"metadata": pod_metadata, "spec": spec},
        },
    }


def build_server_service(deployment: Deployment, served: Served) -> Dict:
    """The headless Service of one version: what the router resolves; it answers by itself too."""
    name = deployment.metadata.name
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(
            server_name(name, served.number),
            deployment.metadata.namespace,
            contract.COMPONENT_SERVER,
            server_labels(deployment, served.name),
        ),
        "spec": {
            "clusterIP": "None",
            "selector": server_selector(name, served.name),
            "ports": [
                {
                    "name": "http",
                    "port": contract.SERVER_HTTP_PORT,
                    "targetPort": "http",
                    "protocol": "TCP",
                }
            ],
        },
    }


def _container(deployment: Deployment, served: Served, settings: Settings) -> Dict:
    runtime = deployment.spec.runtime
    block_resources = runtime.pod.resources if runtime.pod else None
    own = runtime.resources or block_resources
    return our_container(
        settings,
        CONTAINER,
        runtime.image or settings.runtime_image,
        [*PYTHON, "everloop_server"],
        env=_environment(deployment, served),
        mounts=[{"name": "model", "mountPath": MODEL_DIR}],
        resources=own.to_dict() if own else DEFAULT_RESOURCES,
        ports=[
            {"name": "http", "containerPort": contract.SERVER_HTTP_PORT, "protocol": "TCP"},
            {
                "name": contract.METRICS_PORT_NAME,
                "containerPort": contract.SERVER_METRICS_PORT,
                "protocol": "TCP",
            },
        ],
        # Downloading and loading may take minutes; until then nothing else is probed.
        startupProbe=_probe("/v2/health/ready", period=1, timeout=2, failures=600),
        readinessProbe=_probe("/v2/health/ready", period=2, timeout=5, failures=3),
        # For a server that hangs. One that is only overloaded must not be killed: the others would
        # be overloaded by its share.
        livenessProbe=_probe("/v2/health/live", period=20, timeout=15, failures=6),
        lifecycle={"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        # Why it stopped, where people look: in the pod's status, and in our condition.
        terminationMessagePolicy="FallbackToLogsOnError",
    )


def _environment(deployment: Deployment, served: Served) -> list[Dict]:
    values = {
        contract.ENV_NAMESPACE: deployment.metadata.namespace,
        contract.ENV_DEPLOYMENT: deployment.metadata.name,
        contract.ENV_MODEL_NAME: served.model_name,
        contract.ENV_MODEL_VERSION: served.name,
        contract.ENV_ARTIFACT_URI: served.artifact.uri,
        contract.ENV_ARTIFACT_DIGEST: served.artifact.digest,
        contract.ENV_ARTIFACT_FORMAT: served.artifact.format,
        contract.ENV_MODEL_DIR: MODEL_DIR,
    }
    if served.profile:
        values[contract.ENV_PROFILE_URI] = served.profile.uri
        values[contract.ENV_PROFILE_DIGEST] = served.profile.digest
    if served.signature:
        values[contract.ENV_SIGNATURE] = json.dumps(
            served.signature.to_dict(), separators=(",", ":"), sort_keys=True
        )
    return [
        *(variable(name, value) for name, value in values.items()),
        {
            "name": contract.ENV_POD_NAME,
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
        },
    ]


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Dict:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
