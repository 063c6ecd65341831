"""What a cluster needs around Everloop: Prometheus Operator, Prometheus, Alertmanager, an S3 store.

`install(info)` is called by `up`. It may be called again at any time, and does what is missing.
Manifests are the YAML files beside this; images are single static binaries pushed by us.
"""

from __future__ import annotations

import json
import platform
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template
from typing import Any

from devcluster import binaries, tools
from devcluster.images.registry import push_static
from devcluster.paths import write_info
from devcluster.progress import run, step

MANIFESTS = Path(__file__).parent / "manifests"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# Image → the program in it, and where it lies: the operator calls the reloader by this path.
IMAGES = {
    "prometheus_operator": ("prometheus-operator", "/bin/prometheus-operator"),
    "config_reloader": ("prometheus-config-reloader", "/bin/prometheus-config-reloader"),
    "prometheus": ("prometheus", "/bin/prometheus"),
    "alertmanager": ("alertmanager", "/bin/alertmanager"),
    "seaweedfs": ("weed", "/bin/weed"),
}
# What is not installed (Thanos, agents) the operator does not look after; their CRDs are large.
CRDS = (
    "alertmanagerconfigs",
    "alertmanagers",
    "probes",
    "prometheuses",
    "scrapeconfigs",
    "servicemonitors",
    "podmonitors",
    "prometheusrules",
)
WORKLOADS = {  # what has to be ready, after the objects that the operator makes them from
    "monitoring": ("deployment/prometheus-operator", "prometheus/main", "alertmanager/main"),
    "storage": ("deployment/seaweedfs",),
}


def install(info: dict[str, Any]) -> None:
    """Install into the cluster that `info` (cluster.json) describes, and wait until all is ready.

    Adds to cluster.json, under `addons`, where the pieces are reached from inside and from outside.
    """
    kubectl = Kubectl(info["kubeconfig"])
    programs = binaries.find(*(program for program, _ in IMAGES.values()))
    with step("add-ons: images and CRDs"), ThreadPoolExecutor() as pool:
        crds = pool.submit(install_crds, kubectl)
        images = push_images(info["registry"], programs)
        crds.result()
    with step("add-ons: Prometheus, Alertmanager, S3 store"):
        kubectl.apply((MANIFESTS / "namespaces.yaml").read_text())
        create_secrets(kubectl)
        versions = {
            "prometheus_version": f"v{version_of('prometheus')}",
            "alertmanager_version": f"v{version_of('alertmanager')}",
        }
        files = [file for file in sorted(MANIFESTS.glob("*.yaml")) if file.stem != "namespaces"]
        text = "\n---\n".join(file.read_text() for file in files)
        kubectl.apply(Template(text).substitute(images, **versions))
        for namespace, workloads in WORKLOADS.items():
            available = ("--for=condition=Available", "--timeout=180s")
            kubectl("wait", "-n", namespace, *available, *workloads)
    info["addons"] = endpoints(kubectl, info["nodeIP"])
    write_info(info["name"], info)


class Kubectl:
    """kubectl for one cluster; call it with its arguments."""

    def __init__(self, kubeconfig: str) -> None:
        self._command = [binaries.find("kubectl")["kubectl"], f"--kubeconfig={kubeconfig}"]

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        return run([*self._command, *arguments], stdin=stdin)

    def apply(self, manifests: str) -> None:
        """Server-side: the CRDs are too large for an annotation to hold them."""
        self("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests)

    def get(self, *arguments: str) -> dict[str, Any]:
        """One object or list, empty when it does not exist."""
        text = self("get", "--ignore-not-found", "-o", "json", *arguments)
        found: dict[str, Any] = json.loads(text) if text else {}
        return found


def push_images(registry: str, programs: dict[str, Path]) -> dict[str, str]:
    """Push an image for each program; returns the references by the names of IMAGES."""

    def push(image: str) -> str:
        program, place = IMAGES[image]
        files = {place: programs[program]}
        arch = MACHINES[platform.machine()]
        return push_static(registry, f"addons/{program}", files, [place], arch=arch)

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(IMAGES, pool.map(push, IMAGES), strict=True))


def install_crds(kubectl: Kubectl) -> None:
    """The Prometheus Operator's CRDs, unless they are there in our version."""
    folder = binaries.prometheus_operator_crds()
    files = [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in CRDS]
    # They are applied in order, so when the last is there all are.
    last = f"{CRDS[-1]}.monitoring.coreos.com"
    installed = kubectl(
        "get", "crd", last, "--ignore-not-found", "-o", "jsonpath={.metadata.annotations}"
    )
    if f'"{version_of("prometheus-operator")}"' not in installed:
        kubectl.apply("\n---\n".join(file.read_text() for file in files))
    names = [f"crd/{kind}.monitoring.coreos.com" for kind in CRDS]
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)


def create_secrets(kubectl: Kubectl) -> None:
    """Credentials of the S3 store and the token of the alert webhook, made once per cluster."""
    if not kubectl.get("secret", "s3-credentials", "-n", "storage"):
        access, secret = secrets.token_hex(10), secrets.token_hex(20)
        identity = {
            "name": "everloop",
            "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        content = {
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "s3.json": json.dumps({"identities": [identity]}),
        }
        kubectl.apply(secret_manifest("storage", "s3-credentials", content))
    if not kubectl.get("secret", "everloop-webhook", "-n", "monitoring"):
        content = {"token": secrets.token_hex(32)}
        kubectl.apply(secret_manifest("monitoring", "everloop-webhook", content))


def secret_manifest(namespace: str, name: str, content: dict[str, str]) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": content,
        }
    )


def endpoints(kubectl: Kubectl, node_ip: str) -> dict[str, dict[str, str]]:
    """Where the add-ons are, for charts (inside) and for programs on the host (outside)."""

    def outside(namespace: str, service: str) -> str:
        port = kubectl.get("service", service, "-n", namespace)["spec"]["ports"][0]["nodePort"]
        return f"http://{node_ip}:{port}"

    return {
        "prometheus": {
            "inside": "http://prometheus.monitoring.svc:9090",
            "outside": outside("monitoring", "prometheus"),
        },
        "s3": {
            "inside": "http://s3.storage.svc:8333",
            "outside": outside("storage", "s3"),
            "secret": "storage/s3-credentials",
        },
        "webhook": {"secret": "monitoring/everloop-webhook"},
    }


def version_of(program: str) -> str:
    """The version a Go program reports, without the `v`."""
    tool = tools.owner_of(program)
    stamped = tool.stamps.values() if isinstance(tool, tools.GoTool) else ()
    return next(iter(stamped), tool.version).removeprefix("v")
