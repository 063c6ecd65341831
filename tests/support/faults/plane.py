"""The cluster of the harness: an API server, controllers, a scheduler, and nodes and pods by kwok.

Jobs and Deployments come alive in it: pods are scheduled and run, and those of Jobs end when the
stand-in for the runner says so. Pods have addresses of loopback, where a router's stand-in answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from devcluster import binaries
from devcluster.control_plane_only import MEMORY_FOR_SPEED, ControlPlane
from devcluster.processes import Processes
from kube import Kube
from operator_process import eventually
from rights import EVERYTHING, kubeconfig_of, role_at_home

ROOT = Path(__file__).parents[3]
STAGES = Path(__file__).parent / "stages"
# Watches that begin with a list need a newer etcd than Debian's: with them offered, those of kwok
# fail, and it sees pods many seconds late.
# All worlds are one account's, which would have to queue behind itself.
FLAGS = ("--feature-gates=WatchList=false", "--enable-priority-and-fairness=false")
# Pods of loopback cannot be endpoints, which these controllers try again and again.
UNUSED = ("endpoints-controller", "endpointslice-controller", "endpointslice-mirroring-controller")
IMAGE = "- image: {{ .image | Quote }}"  # of a container, in kwok's templates
RUNNING = "registry.test/any@sha256:" + "0" * 64
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "fake"}}


@contextmanager
def control_plane() -> Iterator[ControlPlane]:
    """Start everything; at the end nothing of it is left."""
    plane = ControlPlane(
        f"trials-{os.getpid()}",
        flags=FLAGS,
        controllers=",".join(["*", *(f"-{name}" for name in UNUSED)]),
    )
    plane.start()
    try:
        kube = Kube(plane.kubeconfig)
        kube.install(crds())
        kube.create(NODE)
        _start_nodes(plane)
        eventually(lambda: _ready(kube), 60, "the fake node is not ready")
        yield plane
    finally:
        plane.stop()


def administrator(plane: ControlPlane, folder: Path) -> Path:
    """A kubeconfig with a token: the API server verifies a certificate anew with each request.

    Nobody else may do everything: operators have the chart's rights (see world.py).
    """
    kube = Kube(plane.kubeconfig)
    subject = {"kind": "ServiceAccount", "name": "administrator", "namespace": "default"}
    kube.apply(EVERYTHING | {"subjects": [subject]}, "tests")
    kube.apply(role_at_home(), "tests")
    return kubeconfig_of(kube, folder, "default", "administrator")


def crds() -> list[dict[str, object]]:
    """Ours, and those of the Prometheus Operator that we write."""
    monitoring = binaries.prometheus_operator_crds()
    files = [
        *sorted((ROOT / "crds").glob("*.yaml")),
        *monitoring.glob("*prometheusrules.yaml"),
        *monitoring.glob("*podmonitors.yaml"),
    ]
    return [yaml.safe_load(file.read_text()) for file in files]


def _start_nodes(plane: ControlPlane) -> None:
    """In the plane's own state folder, so that they end with it."""
    processes = Processes(plane.state, MEMORY_FOR_SPEED)
    programs = binaries.find("kwok", "kube-scheduler")
    processes.start("kube-scheduler", [
        programs["kube-scheduler"],
        f"--kubeconfig={plane.state / 'scheduler.kubeconfig'}",
        "--secure-port=0",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ])  # fmt: skip
    ours = {stage.name for stage in STAGES.iterdir()}
    stages = [
        _with_digests(stage, plane.state)
        for stage in binaries.kwok_stages()
        if stage.name not in ours
    ]
    processes.start("kwok", [
        programs["kwok"],
        f"--kubeconfig={plane.kubeconfig}",
        "--manage-all-nodes=true",
        *(f"--config={stage}" for stage in (*stages, *sorted(STAGES.iterdir()))),
        # of this process's own, so that two harnesses side by side do not meet
        f"--cidr=127.{64 + os.getpid() % 128}.0.0/16",
        "--node-lease-duration-seconds=40",
        "--server-address=",
    ])  # fmt: skip


def _with_digests(stage: Path, folder: Path) -> Path:
    """kwok's stage, where containers that run say which image by digest, as a kubelet does."""
    text = stage.read_text()
    told = folder / stage.name
    told.write_text(text.replace(IMAGE, f"{IMAGE}\n        imageID: {RUNNING!r}"))
    return told


def _ready(kube: Kube) -> bool:
    live = kube.get(NODE) or {}
    conditions = (live.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
