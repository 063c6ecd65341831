"""The soak's cluster: brought up, asked, and measured, by kubectl alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from devcluster import binaries
from devcluster.paths import read_info
from e2e import Kube, Object, s3_store

from bench.soak.manifests import NAME

ROOT = Path(__file__).parents[2]
SYSTEM = "everloop-system"
TRIES = 6  # of a kubectl command: the machine may be busy, and the API server slow
PAUSE = 5.0
KINDS = ",".join(
    (
        *(f"{kind}.everloop.dev" for kind in ("trainingruns", "modelversions", "experiments")),
        *(f"{kind}.everloop.dev" for kind in ("deployments", "monitors")),
        *("jobs.batch", "pods", "configmaps", "secrets", "services", "serviceaccounts"),
        *("controllerrevisions.apps", "deployments.apps", "replicasets.apps"),
        *("prometheusrules.monitoring.coreos.com", "podmonitors.monitoring.coreos.com"),
        *("networkpolicies.networking.k8s.io", "poddisruptionbudgets.policy"),
        *("endpointslices.discovery.k8s.io", "leases.coordination.k8s.io"),
    )
)
SAMPLE = re.compile(r"^(\w+)(\{.*\})? (\S+)$")
WRITES = ("create", "patch", "apply", "update", "delete")


class PatientKube(Kube):
    """kubectl that is tried again: two hours are long, and one refused connection is no finding."""

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        for _ in range(TRIES - 1):
            try:
                return super().run(*arguments, stdin=stdin)
            except AssertionError as error:
                print(f"  again: {str(error)[:200]}", flush=True)
                time.sleep(PAUSE)
        return super().run(*arguments, stdin=stdin)


def up(name: str, speedup: float) -> bool:
    """Start the cluster and install Everloop, unless it runs; whether it was started."""
    if read_info(name) is not None:
        return False
    _devcluster("devcluster", "up", "--name", name)
    _devcluster("devcluster.install", "--name", name, "--speedup", f"{speedup:g}")
    return True


def down(name: str) -> None:
    """Take it down."""
    _devcluster("devcluster", "down", "--name", name)


def connect(name: str) -> tuple[PatientKube, Any]:
    """kubectl, and the store as a file system."""
    info = read_info(name)
    assert info is not None, f"there is no cluster '{name}'"
    kube = PatientKube(binaries.find("kubectl")["kubectl"], info["kubeconfig"])
    return kube, s3_store(kube, info["addons"]["s3"]["outside"])


def count_objects(kube: Kube) -> dict[str, int]:
    """Objects of the namespace by kind, but Events."""
    text = kube.run("get", KINDS, "-n", NAME, "-o", "name")
    kinds = (line.partition("/")[0] for line in text.split())
    return dict(Counter(_short(kind) for kind in kinds))


def _short(kind: str) -> str:
    """Two kinds are called Deployment."""
    return "mldep" if kind == "deployment.everloop.dev" else kind.partition(".")[0]


def operator(kube: Kube) -> dict[str, Any]:
    """The leading operator's own figures, and which pod it is; empty while none leads."""
    for pod in kube.list("pods", SYSTEM, ""):
        if pod["metadata"].get("deletionTimestamp") or not _is_ready(pod):
            continue
        path = f"namespaces/{SYSTEM}/pods/{pod['metadata']['name']}:8080/proxy/metrics"
        found = figures(kube.run("get", "--raw", f"/api/v1/{path}"))
        if found["leader"] == 1:
            return {"pod": pod["metadata"]["name"], **found}
    return {}


def figures(text: str) -> dict[str, Any]:
    """From the text of /metrics.

    >>> figures('everloop_operator_queue_depth 2.0')["queue"]
    2.0
    """
    sums: defaultdict[str, float] = defaultdict(float)
    writes = bugs = 0.0
    errors: defaultdict[str, float] = defaultdict(float)
    for match in filter(None, map(SAMPLE.match, text.splitlines())):
        name, labels, value = match[1], match[2] or "", float(match[3])
        sums[name] += value
        if name == "everloop_operator_api_requests_total" and "leases" not in labels:
            writes += value * any(f'verb="{verb}"' in labels for verb in WRITES)
        if name == "everloop_operator_reconcile_errors_total":
            errors[labels] += value
            bugs += value * ('error="bug"' in labels)
    return {
        "started": sums["process_start_time_seconds"],
        "resident": sums["process_resident_memory_bytes"],
        "fds": sums["process_open_fds"],
        "tasks": sums["everloop_operator_tasks"],
        "cpu": sums["process_cpu_seconds_total"],
        "queue": sums["everloop_operator_queue_depth"],
        "running": sums["everloop_operator_reconciles_running"],
        "dropped": sums["everloop_operator_events_dropped_total"],
        "missed": sums["everloop_operator_watch_missed_total"],
        "leader": sums["everloop_operator_leader"],
        "errors": dict(errors),
        "bugs": bugs,
        "writes": writes,
    }


def containers(kube: Kube) -> dict[str, float]:
    """Resident bytes of the containers of operator, servers, router and Prometheus."""
    node = kube.run("get", "nodes", "-o", "name").strip().removeprefix("node/")
    path = f"/api/v1/nodes/{node}/proxy/stats/summary?only_cpu_and_memory=true"
    found: dict[str, float] = {}
    for pod in json.loads(kube.run("get", "--raw", path))["pods"]:
        if pod["podRef"]["namespace"] in (NAME, SYSTEM, "monitoring"):
            for one in pod.get("containers", []):
                key = f"{pod['podRef']['name']}/{one['name']}"
                found[key] = float(one.get("memory", {}).get("rssBytes", 0))
    return found


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _devcluster(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=True)
