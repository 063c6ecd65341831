"""The cluster made of our own processes: `up`, `down` and what is ready."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

from devcluster import audit, binaries, cleanup, dns, network, node, packages, pki
from devcluster.control_plane import Addresses, Parts
from devcluster.images.registry import push_static
from devcluster.network import Network
from devcluster.node import PAUSE, Node
from devcluster.paths import read_info, state_folder, write_info
from devcluster.processes import Processes
from devcluster.progress import say, step, wait_for

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
            "containerd", "pause", "coredns", "kubectl")  # fmt: skip
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def up(name: str) -> dict[str, Any]:
    """Start the cluster, or find it running; return what cluster.json holds."""
    state = state_folder(name)
    packages.require_root()
    packages.require(packages.NODE)
    binaries.find(*PROGRAMS)
    if is_up(name):
        say(f"cluster '{name}' is running already")
        return read_info(name) or {}
    if state.exists() or network.claimed(name, state):
        with step("removing what an earlier run has left"):
            cleanup.remove(name, state)
    with step("network namespace and certificates"):
        ours = network.claim(name, state)
        state.mkdir(parents=True)
        ours.create()
        pki.create(state / "pki", [ours.node_ip, "10.96.0.1", "127.0.0.1"], node=name)
    return _start(state, ours)


def _start(state: Path, ours: Network) -> dict[str, Any]:
    processes = Processes(state, ours.inside())
    addresses = Addresses(ours.node_ip, 6443, 2379, 2380, ours.services)
    parts = Parts(state, processes, addresses)
    worker = Node(state, processes, ours)
    parts.write_kubeconfigs(context=ours.namespace)
    with step("control plane, registry and containerd"):
        # All at once; each waits for what it needs.
        parts.start_etcd()
        # What the operator asked for: end-to-end tests hold it against the chart's rules.
        log = state / "audit.log"
        parts.start_apiserver(audit.flags(audit.OPERATOR, state, log, bounded=True))
        worker.start_registry()
        worker.start_containerd()
        images = _push_images(worker, processes)
        parts.wait()
    with step("node and DNS"):
        parts.start_controllers([f"--cluster-cidr={ours.pods}"])
        parts.start_scheduler()
        worker.start_kubelet()
        dns.install(parts, images["coredns"], ours.dns_ip)
        wait_for("the node has not registered", lambda: worker.has_address(parts), 60,
                 processes.explain("kubelet"))  # fmt: skip
        worker.start_proxy()
        wait_for("DNS is not ready", lambda: dns.ready(parts), 90,
                 f"Look at: kubectl --kubeconfig {parts.kubeconfig} get pods -A")  # fmt: skip
    info = {
        "name": ours.name,
        "kind": "processes",
        "kubeconfig": str(parts.kubeconfig),
        "auditLog": str(log),
        "registry": worker.registry,
        "nodeIP": ours.node_ip,
        "hostIP": ours.host_ip,
        "netns": ours.namespace,
    }
    write_info(ours.name, info)
    return info


def _push_images(worker: Node, processes: Processes) -> dict[str, str]:
    """Push what the node needs before it can run anything."""
    machine = MACHINES[platform.machine()]
    found = binaries.find("pause", "coredns")

    def push(program: str, image: str) -> str:
        processes.require("registry")
        name, tag = image.split(":")
        binary = found[program]
        return push_static(
            worker.registry,
            name,
            {f"/{binary.name}": binary},
            [f"/{binary.name}"],
            tag=tag,
            user="65534:65534",
            arch=machine,
        )

    wait_for("the registry does not answer", worker.registry_answers, 20,
             processes.explain("registry"))  # fmt: skip
    return {"pause": push("pause", PAUSE), "coredns": push("coredns", "coredns:dev")}


def is_up(name: str) -> bool:
    """Whether `up` once finished, and every program that it started still runs."""
    processes = Processes(state_folder(name))
    names = processes.names()
    return bool(read_info(name) and names and all(processes.running(part) for part in names))


def down(name: str, purge: bool) -> None:
    """Take the cluster down; with `purge`, its registry's layers too."""
    state = state_folder(name)
    with step(f"taking down cluster '{name}'"):
        cleanup.remove(name, state)
        if purge:
            shutil.rmtree(node.registry_folder(name), ignore_errors=True)
