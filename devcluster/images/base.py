"""The base image where no public registry is reached: Debian 12 with Python 3.11, by mmdebstrap.

It stands in for the Dockerfile's default `python:3.11-slim-bookworm`. The tar is kept in the cache,
keyed by what is in it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from devcluster.images.inputs import key
from devcluster.paths import cache_folder, lock
from devcluster.progress import UserError, run, step

SUITE = "bookworm"  # its Python is 3.11, as in the Dockerfile's default base
PACKAGES = ("ca-certificates", "git", "python3", "python3-venv")
# Documentation and translations are a quarter of the size, and nobody reads them in a container.
# The licences stay.
LEFT_OUT = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)


def base_key() -> str:
    """Changes when the base has to be made anew."""
    return key((), extra=("base", SUITE, os.uname().machine, *PACKAGES, *LEFT_OUT))


def base_tar() -> Path:
    """The base's file system as a tar, made if the cache has none."""
    tar = cache_folder() / "images" / f"base-{SUITE}-{base_key()}.tar"
    with lock(tar.with_suffix(".lock"), "another process is making the base image"):
        if not tar.exists():
            with step(f"base image: Debian {SUITE} with Python, by mmdebstrap"):
                scratch = tar.with_suffix(".part.tar")
                run(mmdebstrap(scratch))
                scratch.replace(tar)
    return tar


def mmdebstrap(tar: Path) -> list[str]:
    """The command that writes the base's tar, with this machine's mirrors and proxies."""
    if os.geteuid() != 0:
        raise UserError(
            "the base image needs root (mmdebstrap). Without it, use a Docker engine, or set "
            "EVERLOOP_BASE to an image with Python 3.11 that buildah can pull."
        )
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt={option}" for option in LEFT_OUT),
        *(f"--aptopt={line}" for line in apt_options()),
        SUITE,
        str(tar),
        *mirrors(),
    ]


def mirrors() -> list[str]:
    """This machine's Debian sources when it runs the same release; else mmdebstrap's default."""
    release = Path("/etc/os-release")
    if not release.exists() or f"VERSION_CODENAME={SUITE}" not in release.read_text():
        return []
    places = [Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")]
    return [str(place) for place in places if place.exists()][:1]


def apt_options() -> list[str]:
    """Proxy and certificate settings of this machine's apt."""
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    wanted = re.compile(r'^Acquire::https?::(?:.*::)?(?:Proxy|CaInfo|CaPath)\S* "[^"]+";$')
    return [line for line in dump.stdout.splitlines() if wanted.match(line)]
