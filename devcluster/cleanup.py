"""Takes down whatever is left of a cluster, however far it came and however it ended.

Nothing here trusts that `up` had finished: every kind of remains is looked for, and its absence is
no error. Processes are told by our pid files, by our network namespace and by our cgroups.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from devcluster import cgroups, network
from devcluster.network import Network
from devcluster.processes import Processes, end
from devcluster.progress import UserError, run, wait_for

POD_LOG_LINKS = Path("/var/log/containers")
SHIM_SOCKETS = Path("/run/containerd/s")
CNI_RESULTS = Path("/var/lib/cni")


def remove(name: str, state: Path) -> None:
    """Leave nothing of the cluster: process, mount, namespace, link, rule, cgroup, state."""
    processes = Processes(state)
    ours = network.claimed(name, state)
    processes.stop("kubelet", "kube-proxy")
    if ours:
        end(cgroups.pids(name), seconds=0)
        _forget_shims(state)
    processes.stop(*[program for program in processes.names() if program != "etcd"])
    if ours:
        end(ours.pids(), seconds=0)
    processes.stop("etcd")
    _unmount(state)
    if ours:
        ours.delete()
        _remove_traces(ours, state)
        wait_for("the cgroups cannot be removed", lambda: _delete_cgroups(name), 10)
        network.release(name)
    shutil.rmtree(state, ignore_errors=True)
    if state.exists():
        left = ", ".join(str(path) for path in list(state.rglob("*"))[:5])
        raise UserError(f"{state} could not be removed; still there: {left}")


def _unmount(folder: Path) -> None:
    """Unmount everything below the state folder, innermost first."""
    for _ in range(20):
        points = [point for point in mounts() if point.startswith(f"{folder}/")]
        if not points:
            return
        for point in sorted(points, key=len, reverse=True):
            try:
                run(["umount", point])
            except UserError:
                run(["umount", "--lazy", point])


def mounts() -> list[str]:
    """Every mount point of this machine."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    # Spaces are written as octal escapes.
    return [line.split()[1].encode().decode("unicode_escape") for line in lines]


def _forget_shims(state: Path) -> None:
    """Remove the sockets of containerd's shims, which lie outside of its state folder."""
    for note in state.glob("containerd-run/io.containerd.runtime.v2.task/*/*/bootstrap.json"):
        for socket in SHIM_SOCKETS.glob("*"):
            if socket.name in note.read_text():
                socket.unlink(missing_ok=True)


def _remove_traces(ours: Network, state: Path) -> None:
    """Remove files that the kubelet and CNI write to fixed places."""
    if POD_LOG_LINKS.is_dir():
        for link in POD_LOG_LINKS.iterdir():
            if link.is_symlink() and str(link.readlink()).startswith(f"{state}/"):
                link.unlink()
    for result in CNI_RESULTS.glob(f"results/{ours.namespace}-*-eth0"):
        container = result.name[len(ours.namespace) + 1 : -len("-eth0")]
        result.with_name(f"cni-loopback-{container}-lo").unlink(missing_ok=True)
        result.unlink()


def _delete_cgroups(name: str) -> bool:
    """A process that was just killed can hold its cgroup for a moment."""
    try:
        cgroups.delete(name)
    except OSError:
        return False
    return True
