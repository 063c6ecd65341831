"""The same cluster where a Docker engine answers: kind, with an image registry beside it.

The registry is set up as kind's guide "Local Registry" says: a container on kind's network, and a
hosts.toml in the node, which its containerd reads for `localhost:PORT`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from devcluster import binaries, cleanup
from devcluster.paths import read_info, state_folder, write_info
from devcluster.ports import free_ports
from devcluster.progress import UserError, run, say, step, succeeds, wait_for

# The node image that this kind release was made with decides the Kubernetes version.
REGISTRY_IMAGE = "docker.io/library/registry:2.8.3"


def up(name: str) -> dict[str, Any]:
    """Start the cluster, or find it running; return what cluster.json holds."""
    state = state_folder(name)
    info = read_info(name)
    if info and _clusters([name]) and _kubectl_succeeds(info, "get", "--raw", "/readyz"):
        say(f"cluster '{name}' is running already")
        return info
    if state.exists() or _clusters([name]):
        with step("removing what an earlier run has left"):
            down(name, purge=False)
    state.mkdir(parents=True)
    kubeconfig = state / "admin.kubeconfig"
    with step("registry container"):
        port = _start_registry(name)
    with step("kind cluster (the first time, Docker fetches its node image)"):
        config = state / "kind.json"
        config.write_text(json.dumps(_config()))
        run([_kind(), "create", "cluster", "--name", _cluster(name), "--config", config,
             "--kubeconfig", kubeconfig, "--wait", "120s"])  # fmt: skip
    with step("registry for the node"):
        registry = f"localhost:{port}"
        _tell_node(name, registry)
    info = {
        "name": name,
        "kind": "kind",
        "kubeconfig": str(kubeconfig),
        "registry": registry,
        "nodeIP": _address(f"{_cluster(name)}-control-plane"),
        "hostIP": _gateway(),
        "netns": None,
    }
    with step("DNS"):
        wait_for("DNS is not ready", lambda: _kubectl_succeeds(
            info, "wait", "--namespace=kube-system", "--for=condition=Available",
            "deployment/coredns", "--timeout=5s"), 90)  # fmt: skip
    write_info(name, info)
    return info


def down(name: str, purge: bool) -> None:
    """Remove the cluster and its registry; with `purge`, the registry's volume too."""
    state = state_folder(name)
    run([_kind(), "delete", "cluster", "--name", _cluster(name),
         "--kubeconfig", state / "admin.kubeconfig"])  # fmt: skip
    if succeeds(["docker", "inspect", _registry(name)]):
        run(["docker", "rm", "--force", _registry(name)])
    if purge and succeeds(["docker", "volume", "inspect", _registry(name)]):
        run(["docker", "volume", "rm", _registry(name)])
    # Also what an API server of this name without a node may have left.
    cleanup.remove(name, state)


def _config() -> dict[str, object]:
    """kind's configuration; JSON is YAML."""
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # How soon a changed ConfigMap is seen by the pods that mount it.
        "syncFrequency": "2s",
        "serializeImagePulls": False,
        # A kubelet of today refuses hosts with the old cgroups, though it still works on them.
        "failCgroupV1": False,
    }
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane"}],
        "kubeadmConfigPatches": [json.dumps(kubelet)],
    }


def _start_registry(name: str) -> int:
    """Start the registry on a port of loopback; its layers are in a volume.

    The port is ours to choose: one that Docker chooses is another one after each start, and after
    `_tell_node` has joined the container to kind's network.
    """
    container, (port,) = _registry(name), free_ports(1)
    run(["docker", "run", "--detach", "--restart=always", "--name", container,
         "--publish", f"127.0.0.1:{port}:5000", "--volume", f"{container}:/var/lib/registry",
         "--network", "bridge", REGISTRY_IMAGE])  # fmt: skip
    return port


def _tell_node(name: str, registry: str) -> None:
    """Lead the node's containerd from the host's name of the registry to its container."""
    node, container = f"{_cluster(name)}-control-plane", _registry(name)
    folder = f"/etc/containerd/certs.d/{registry}"
    run(["docker", "exec", node, "mkdir", "-p", folder])
    run(["docker", "exec", "-i", node, "cp", "/dev/stdin", f"{folder}/hosts.toml"],
        stdin=f'[host."http://{container}:5000"]\n')  # fmt: skip
    run(["docker", "network", "connect", "kind", container])


def _address(container: str) -> str:
    template = "{{.NetworkSettings.Networks.kind.IPAddress}}"
    return run(["docker", "inspect", "--format", template, container]).strip()


def _gateway() -> str:
    """The host as pods see it: the IPv4 gateway of kind's network."""
    networks = json.loads(run(["docker", "network", "inspect", "kind"]))
    gateways = [entry.get("Gateway", "") for entry in networks[0]["IPAM"]["Config"]]
    found = next((gateway for gateway in gateways if "." in gateway), None)
    if found is None:
        raise UserError("Docker's network 'kind' has no IPv4 gateway")
    return str(found)


def _clusters(wanted: list[str]) -> list[str]:
    listed = run([_kind(), "get", "clusters"]).split()
    return [name for name in wanted if _cluster(name) in listed]


def _cluster(name: str) -> str:
    return f"everloop-{name}"


def _registry(name: str) -> str:
    return f"everloop-{name}-registry"


def _kind() -> Path:
    return binaries.find("kind")["kind"]


def _kubectl_succeeds(info: dict[str, Any], *arguments: str) -> bool:
    kubectl = binaries.find("kubectl")["kubectl"]
    command = [str(kubectl), "--kubeconfig", info["kubeconfig"], *arguments]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
