"""What must be installed on the system: installed on Debian as root, else named exactly."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from devcluster import binaries, tools
from devcluster.progress import UserError, run, step, succeeds

CONTROL_PLANE = ("etcd", "openssl")
NODE = (*CONTROL_PLANE, "runc", "/usr/lib/cni/bridge", "iptables", "conntrack", "ip", "nsenter",
        "docker-registry")  # fmt: skip
IMAGES = ("buildah", "mmdebstrap", "runc")
# Debian starts these as services of the machine when they are installed; we run our own.
SERVICES = ("etcd", "docker-registry")


def require(programs: tuple[str, ...]) -> None:
    """Have every one of these programs, installing what is missing where we may."""
    missing = sorted({tools.SYSTEM_TOOLS[program] for program in programs if not _there(program)})
    if find_spec("pip") is None:
        missing.append("python3-pip")  # brings the wheels that carry binaries
    if not missing:
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if not _debian():
        raise UserError(
            "these are missing and must be installed first (names of Debian packages): "
            f"{', '.join(missing)}.\nOn Debian or Ubuntu: {command}\n"
            "Or start a Docker engine: the cluster is then kind's and needs none of them."
        )
    if os.geteuid() != 0:
        raise UserError(f"these are missing: {', '.join(missing)}. Install them: sudo {command}")
    with step(f"installing {', '.join(missing)} from Debian"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-q"], env=environment)
        run([*command.split(), "-y", "-q"], env=environment)
        if Path("/run/systemd/system").exists():
            for service in SERVICES:
                succeeds(["systemctl", "disable", "--now", service])


def require_root() -> None:
    """Namespaces, mounts and cgroups need root."""
    if os.geteuid() != 0:
        raise UserError(
            "no Docker engine answers (`docker info`), and without one the cluster is made of "
            "namespaces and cgroups, which needs root: start Docker, or run this as root"
        )


def docker_answers() -> bool:
    """Whether a Docker engine can be used: then the cluster is kind's."""
    return succeeds(["docker", "info"])


def _there(program: str) -> bool:
    try:
        binaries.system(program)
    except UserError:
        return False
    return True


def _debian() -> bool:
    release = Path("/etc/os-release")
    if not release.exists() or shutil.which("apt-get") is None:
        return False
    # ID of Debian itself, ID_LIKE of what derives from it.
    lines = release.read_text().splitlines()
    return any("debian" in line for line in lines if line.startswith(("ID=", "ID_LIKE=")))
