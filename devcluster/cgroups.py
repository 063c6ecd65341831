"""The cgroup that holds every pod of a cluster: it tells which processes are its containers."""

from __future__ import annotations

from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")


def root(name: str) -> str:
    """The path of the cluster's cgroup within a hierarchy."""
    return f"/everloop-{name}"


def create(name: str) -> None:
    """Make the cgroup in every hierarchy; the kubelet wants it to exist."""
    for hierarchy in _hierarchies():
        folder = hierarchy / root(name).lstrip("/")
        folder.mkdir(exist_ok=True)
        if hierarchy.name == "cpuset":
            # A v1 cpuset begins empty, and takes no process until it has processors and memory.
            for file in ("cpuset.cpus", "cpuset.mems"):
                (folder / file).write_text((hierarchy / file).read_text())


def pids(name: str) -> set[int]:
    """Every process of every container."""
    return {
        int(pid)
        for folder in _folders(name)
        for pid in (folder / "cgroup.procs").read_text().split()
    }


def delete(name: str) -> None:
    """Remove the cgroups, innermost first; there must be no process left in them."""
    for folder in reversed(_folders(name)):
        folder.rmdir()


def _folders(name: str) -> list[Path]:
    """The cluster's cgroups in all hierarchies, each parent before its children."""
    tops = [hierarchy / root(name).lstrip("/") for hierarchy in _hierarchies()]
    found: list[Path] = []
    for top in tops:
        if top.is_dir():
            found += [top, *sorted(path for path in top.rglob("*") if path.is_dir())]
    return found


def _hierarchies() -> list[Path]:
    """One for v2; for v1 each controller's, of which some may be links to one another."""
    if (MOUNT / "cgroup.controllers").exists():
        return [MOUNT]
    return sorted({path.resolve() for path in MOUNT.iterdir() if path.is_dir()})
