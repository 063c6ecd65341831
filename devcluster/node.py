"""The node: image registry, containerd, kubelet and kube-proxy, with their configurations."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from devcluster import binaries, cgroups
from devcluster.control_plane import Parts
from devcluster.network import Network
from devcluster.paths import cache_folder
from devcluster.processes import Processes

CNI_PLUGINS = Path("/usr/lib/cni")
PAUSE = "pause:1"


class Node:
    """The one node of a cluster; its Kubernetes name is the cluster's."""

    def __init__(self, state: Path, processes: Processes, network: Network) -> None:
        self.state = state
        self.processes = processes
        self.network = network
        self.registry = f"{network.node_ip}:5000"
        self.socket = state / "containerd.sock"

    def start_registry(self) -> None:
        """An image registry that host and node reach at the same address.

        Its layers are kept in the cache, so the images of the next cluster of this name need not
        be pushed again.
        """
        config = self.state / "registry.yml"
        config.write_text(json.dumps({
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": str(registry_folder(self.network.name))},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.registry},
        }))  # fmt: skip
        self.processes.start("registry", [binaries.system("docker-registry"), "serve", config])

    def start_containerd(self) -> None:
        """The container runtime, with everything it writes below our state folder."""
        hosts = self.state / "certs.d" / self.registry
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(
            f'server = "http://{self.registry}"\n[host."http://{self.registry}"]\n'
            '  capabilities = ["pull", "resolve"]\n'
        )
        self._write_cni()
        config = self.state / "containerd.toml"
        config.write_text(self._containerd_toml())
        path = f"{binaries.find('containerd')['containerd'].parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        self.processes.start(
            "containerd", ["/usr/bin/env", f"PATH={path}", "containerd", "-c", config]
        )

    def start_kubelet(self) -> None:
        """The kubelet; it retries until containerd and the API server answer."""
        cgroups.create(self.network.name)
        (self.state / "resolv.conf").write_text("")
        config = self.state / "kubelet.yaml"
        config.write_text(json.dumps(self._kubelet()))
        self.processes.start("kubelet", [
            binaries.find("kubelet")["kubelet"],
            f"--config={config}",
            f"--kubeconfig={self.state / 'kubelet.kubeconfig'}",
            f"--hostname-override={self.network.name}",
            f"--root-dir={self.state / 'kubelet'}",
            f"--node-ip={self.network.node_ip}",
        ])  # fmt: skip

    def start_proxy(self) -> None:
        """kube-proxy; it reads the node's address once, so the node must have one already."""
        config = self.state / "proxy.yaml"
        config.write_text(json.dumps({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(self.state / "proxy.kubeconfig")},
            "clusterCIDR": self.network.pods,
            "hostnameOverride": self.network.name,
            # The limits of connection tracking belong to the machine, not to this cluster.
            "conntrack": {"maxPerCore": 0},
        }))  # fmt: skip
        self.processes.start("kube-proxy", [
            "/usr/bin/env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            binaries.find("kube-proxy")["kube-proxy"], f"--config={config}",
        ])  # fmt: skip

    def has_address(self, parts: Parts) -> bool:
        """Whether the kubelet has registered the node with its address."""
        self.processes.require("containerd", "kubelet")
        node = parts.get(f"/api/v1/nodes/{self.network.name}")
        addresses = json.loads(node)["status"].get("addresses", []) if node else []
        return any(entry["address"] == self.network.node_ip for entry in addresses)

    def registry_answers(self) -> bool:
        """Whether an image can be pushed."""
        self.processes.require("registry")
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://{self.registry}/v2/", timeout=2
            )
        except OSError:
            return False
        return True

    def _write_cni(self) -> None:
        folder = self.state / "cni"
        folder.mkdir()
        bridge = {
            "type": "bridge",
            "bridge": self.network.bridge,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.state / "ipam"),
                "ranges": [[{"subnet": self.network.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        (folder / "10-bridge.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0",
            "name": self.network.namespace,
            "plugins": [bridge, ports],
        }))  # fmt: skip

    def _containerd_toml(self) -> str:
        return f"""\
version = 3
root = "{self.state}/containerd"
state = "{self.state}/containerd-run"
[grpc]
  address = "{self.socket}"
[plugins.'io.containerd.internal.v1.opt']
  path = "{self.state}/containerd/opt"
# Its socket is one for the whole machine, and a second cluster would take it over.
[plugins.'io.containerd.nri.v1.nri']
  disable = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{self.registry}/{PAUSE}"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "{self.state}/certs.d"
[plugins.'io.containerd.cri.v1.runtime']
  # Containers of developers are often without CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      Root = "{self.state}/runc"
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{CNI_PLUGINS}"]
    conf_dir = "{self.state}/cni"
"""

    def _kubelet(self) -> dict[str, object]:
        pki = self.state / "pki"
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroups.root(self.network.name),
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "authentication": {
                "x509": {"clientCAFile": str(pki / "ca.crt")},
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(pki / "kubelet.key"),
            "clusterDNS": [self.network.dns_ip],
            "clusterDomain": "cluster.local",
            # The host's search domains and servers lead nowhere from inside.
            "resolvConf": str(self.state / "resolv.conf"),
            "podLogsDir": str(self.state / "pod-logs"),
            "failSwapOn": False,
            "address": self.network.node_ip,
            # How soon a changed ConfigMap is seen by the pods that mount it.
            "syncFrequency": "2s",
            "serializeImagePulls": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "memory.available": "100Mi",
            },
        }


def registry_folder(name: str) -> Path:
    """Where the registry of a cluster keeps its layers, across clusters of that name."""
    return cache_folder() / "registry" / name
