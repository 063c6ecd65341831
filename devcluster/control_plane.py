"""etcd, API server, controller-manager, scheduler: the command lines, and the start in order."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from devcluster import binaries, pki
from devcluster.processes import Processes
from devcluster.progress import wait_for


@dataclass(frozen=True)
class Addresses:
    """Where one control plane listens. `host` is what clients are told."""

    host: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    services: str
    controller_port: int = 10257

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.host}:{self.api_port}"


class Parts:
    """The control plane of one state folder."""

    def __init__(self, state: Path, processes: Processes, addresses: Addresses) -> None:
        self.state = state
        self.pki = state / "pki"
        self.processes = processes
        self.addresses = addresses

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "admin.kubeconfig"

    def write_kubeconfigs(self, context: str) -> None:
        """One for each client that has a certificate; they hold paths, not keys."""
        names = ("admin", "controller-manager", "scheduler", "proxy")
        node = ("kubelet",) if (self.pki / "kubelet.crt").exists() else ()
        for client in (*names, *node):
            file = self.state / f"{client}.kubeconfig"
            pki.kubeconfig(file, self.pki, client, self.addresses.server, context)

    def start_etcd(self) -> None:
        """Without fsync: a cluster that is thrown away need not survive a power cut."""
        ours = self.addresses
        client, peer = (
            f"http://127.0.0.1:{port}" for port in (ours.etcd_port, ours.etcd_peer_port)
        )
        self.processes.start("etcd", [
            binaries.system("etcd"), "--name", "default", "--data-dir", self.state / "etcd",
            "--unsafe-no-fsync", "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}",
        ])  # fmt: skip

    def start_apiserver(self, extra: list[str] | None = None) -> None:
        """Start the API server; `wait` tells when it answers."""
        folder, ours = self.pki, self.addresses
        kubelet_client = folder / "kubelet-client"
        self.processes.start("kube-apiserver", [
            binaries.find("kube-apiserver")["kube-apiserver"],
            f"--etcd-servers=http://127.0.0.1:{ours.etcd_port}",
            "--bind-address=0.0.0.0" if ours.host != "127.0.0.1" else "--bind-address=127.0.0.1",
            f"--advertise-address={ours.host}",
            f"--secure-port={ours.api_port}",
            f"--service-cluster-ip-range={ours.services}",
            f"--cert-dir={self.state / 'apiserver'}",
            f"--client-ca-file={folder / 'ca.crt'}",
            f"--tls-cert-file={folder / 'apiserver.crt'}",
            f"--tls-private-key-file={folder / 'apiserver.key'}",
            f"--kubelet-client-certificate={kubelet_client}.crt",
            f"--kubelet-client-key={kubelet_client}.key",
            f"--kubelet-certificate-authority={folder / 'ca.crt'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={folder / 'sa.pub'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--enable-aggregator-routing=true",
            f"--requestheader-client-ca-file={folder / 'ca.crt'}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={folder / 'front-proxy.crt'}",
            f"--proxy-client-key-file={folder / 'front-proxy.key'}",
            *(extra or []),
        ])  # fmt: skip

    def start_controllers(self, extra: list[str]) -> None:
        """Start the controller-manager, which gives up when no API server answers: wait first."""
        self.processes.start("kube-controller-manager", [
            binaries.find("kube-controller-manager")["kube-controller-manager"],
            f"--kubeconfig={self.state / 'controller-manager.kubeconfig'}",
            f"--service-account-private-key-file={self.pki / 'sa.key'}",
            f"--root-ca-file={self.pki / 'ca.crt'}",
            f"--secure-port={self.addresses.controller_port}",
            f"--cert-dir={self.state / 'controller-manager'}",
            "--bind-address=127.0.0.1",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            # Its own client is held to 20 requests a second unless told otherwise.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            *extra,
        ])  # fmt: skip

    def start_scheduler(self) -> None:
        """Start the scheduler."""
        self.processes.start("kube-scheduler", [
            binaries.find("kube-scheduler")["kube-scheduler"],
            f"--kubeconfig={self.state / 'scheduler.kubeconfig'}",
            f"--cert-dir={self.state / 'scheduler'}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ])  # fmt: skip

    def wait(self, seconds: float = 60) -> None:
        """Wait until the API server is ready, or say which part ended and why."""

        def ready() -> bool:
            self.processes.require("etcd", "kube-apiserver")
            return self.get("/readyz") is not None

        wait_for("the API server is not ready", ready, seconds,
                 self.processes.explain("kube-apiserver"))  # fmt: skip

    def get(self, path: str) -> str | None:
        """What the API server answers to a GET by the administrator; None unless that is 200.

        Asked many times while things start, when a kubectl each time would take the processor
        from what is waited for.
        """
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        ours = self.addresses
        connection = HTTPSConnection(ours.host, ours.api_port, timeout=5, context=context)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read().decode() if response.status == 200 else None
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()

    def kubectl(self) -> list[object]:
        """The kubectl command with this cluster's administrator."""
        return [binaries.find("kubectl")["kubectl"], "--kubeconfig", self.kubeconfig]
