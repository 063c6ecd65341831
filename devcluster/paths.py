"""Where things are kept: the cache outlives clusters, a state folder ends with its cluster."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from devcluster.progress import UserError, say

HERE = Path(__file__).resolve().parent


def cache_folder() -> Path:
    """Binaries keyed by version, Go's build cache while it builds, and the image registries."""
    folder = Path(os.environ.get("EVERLOOP_CACHE") or "~/.cache/everloop").expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state_root() -> Path:
    """One folder for each cluster by name."""
    folder = Path(os.environ.get("EVERLOOP_STATE") or "~/.local/state/everloop")
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state_folder(name: str) -> Path:
    """The state folder of one cluster; its sockets must fit the 108 bytes of a socket's path."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,22}[a-z0-9])?", name):
        raise UserError(
            f"'{name}' cannot name a cluster: write 1 to 24 of a-z, 0-9 and '-', "
            "beginning with a letter, for example NAME=dev"
        )
    folder = state_root() / name
    if len(str(folder)) > 70:
        raise UserError(
            f"the state folder {folder} is too deep for Unix sockets: "
            "set EVERLOOP_STATE to a shorter path"
        )
    return folder


@contextmanager
def lock(file: Path, busy: str) -> Iterator[None]:
    """Hold `file` as a lock; the kernel lets go of it however this process ends.

    `busy` is printed once when another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(busy)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_atomically(file: Path, text: str) -> None:
    """Write so that a reader sees the old text or the new one, never half of it."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.replace(file)


def read_info(name: str) -> dict[str, Any] | None:
    """What `up` wrote about a cluster for other programs, or None when there is none."""
    try:
        info: dict[str, Any] = json.loads((state_folder(name) / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    return info


def write_info(name: str, info: dict[str, Any]) -> None:
    """Publish cluster.json: the last thing that a successful `up` does to its state folder."""
    write_atomically(state_folder(name) / "cluster.json", json.dumps(info, indent=2) + "\n")
