"""An API server without a node, for tests: etcd, kube-apiserver and controllers on loopback.

It needs no root, starts in about five seconds, and several can run side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from devcluster import audit, binaries, cleanup, packages, pki
from devcluster.control_plane import Addresses, Parts
from devcluster.paths import state_folder, write_info
from devcluster.ports import free_ports
from devcluster.processes import Processes
from devcluster.progress import step, wait_for

# Of a short-lived API server under load a fifth of the work is collecting garbage.
MEMORY_FOR_SPEED = ("env", "GOGC=400")


class ControlPlane:
    """One API server by name.

    `start`, then use `kubeconfig` (administrator) or `server`; `stop` leaves nothing behind.
    What an earlier process of this name left is removed by `start`. With `audit_log` every
    request is written there as one JSON object a line; with `kwok`, fake nodes run pods.
    """

    def __init__(
        self,
        name: str,
        *,
        kwok: bool = False,
        audit_log: Path | None = None,
        flags: Sequence[str] = (),
        controllers: str = "*",
    ) -> None:
        """`flags` are further ones of the API server; `controllers` which of them run, as the
        controller-manager's flag of this name has it.
        """
        self.name = name
        self.state = state_folder(name)
        self.kwok = kwok
        self.audit_log = audit_log
        self._flags = flags
        self._controllers = controllers
        self._processes = Processes(self.state, MEMORY_FOR_SPEED)
        self._parts: Parts | None = None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; it stays valid when the API server is restarted."""
        return self.state / "admin.kubeconfig"

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self._started().addresses.server

    @property
    def etcd(self) -> str:
        """The URL of etcd, for tests of what happens beneath the API server."""
        return f"http://127.0.0.1:{self._started().addresses.etcd_port}"

    def start(self) -> None:
        """Start everything and wait until the API server is ready."""
        packages.require(packages.CONTROL_PLANE)
        binaries.find("kube-apiserver", "kube-controller-manager", "kubectl",
                      *(["kwok"] if self.kwok else []))  # fmt: skip
        cleanup.remove(self.name, self.state)
        with step(f"API server '{self.name}'"):
            self.state.mkdir(parents=True)
            pki.create(self.state / "pki", ["127.0.0.1", "10.96.0.1"])
            api, etcd, peer, controllers = free_ports(4)
            addresses = Addresses("127.0.0.1", api, etcd, peer, "10.96.0.0/16", controllers)
            self._parts = parts = Parts(self.state, self._processes, addresses)
            parts.write_kubeconfigs(context=f"everloop-{self.name}")
            parts.start_etcd()
            self.start_apiserver()
            self._start_controllers(parts)
            if self.kwok:
                self._start_kwok(parts)
                self._wait_for_pods(parts)
        write_info(self.name, {
            "name": self.name,
            "kind": "control-plane",
            "kubeconfig": str(self.kubeconfig),
            "server": addresses.server,
        })  # fmt: skip

    def stop(self) -> None:
        """End everything and remove the state folder."""
        cleanup.remove(self.name, self.state)
        self._parts = None

    def start_apiserver(self) -> None:
        """Start the API server (again, on the same port) and wait until it is ready."""
        # A Service must not have an endpoint on loopback, and nothing here would use it.
        parts, extra = self._started(), ["--endpoint-reconciler-type=none", *self._flags]
        if self.audit_log:
            extra += audit.flags(audit.EVERYTHING, self.state, self.audit_log)
        parts.start_apiserver(extra)
        parts.wait()

    def stop_apiserver(self) -> None:
        """End the API server alone; etcd keeps what it held.

        The controller-manager ends by itself when it cannot reach the API server for long:
        `restart_apiserver` starts it again.
        """
        self._processes.stop("kube-apiserver", seconds=15)

    def restart_apiserver(self) -> None:
        """Stop it if it runs, and start it again: every watch breaks."""
        self.stop_apiserver()
        self.start_apiserver()
        for program, start in (
            ("kube-controller-manager", self._start_controllers),
            ("kwok", self._start_kwok),
        ):
            if program in self._processes.names() and self._processes.running(program) is None:
                start(self._started())

    def _start_controllers(self, parts: Parts) -> None:
        # More workers than a cluster of one node needs: tests of scale wait for them.
        parts.start_controllers([
            f"--controllers={self._controllers}",
            "--concurrent-job-syncs=20",
            "--concurrent-gc-syncs=40",
        ])  # fmt: skip

    def _start_kwok(self, parts: Parts) -> None:
        self._processes.start("kwok", [
            binaries.find("kwok")["kwok"],
            f"--kubeconfig={parts.kubeconfig}",
            "--manage-all-nodes=true",
            *(f"--config={stage}" for stage in binaries.kwok_stages()),
            "--node-lease-duration-seconds=40",
            "--server-address=",
        ])  # fmt: skip

    def _wait_for_pods(self, parts: Parts) -> None:
        """Until the controllers have made it, no pod is admitted."""
        account = "/api/v1/namespaces/default/serviceaccounts/default"

        def made() -> bool:
            self._processes.require("kube-controller-manager", "kwok")
            return parts.get(account) is not None

        wait_for("no service account for pods", made, 60,
                 self._processes.explain("kube-controller-manager"))  # fmt: skip

    def _started(self) -> Parts:
        if self._parts is None:
            raise RuntimeError(f"the API server '{self.name}' is not started")
        return self._parts
