"""Brings the artifact and the profile of a version onto this machine, and proves what they are.

Nothing is loaded before its digest has been compared: a pickle is code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from everloop.contract import files_digest
from everloop_server.errors import ArtifactChangedError, ArtifactMissingError


def download_artifact(uri: str, digest: str, folder: Path) -> None:
    """Copy the files below `uri` into `folder`.

    Raises ArtifactMissingError if there are none or the store does not answer, ArtifactChangedError
    if they are not the ones with that digest; then `folder` must not be used.
    """
    store, root = _open(uri)
    try:
        root = root.rstrip("/")
        found = store.find(root)
        names = {path: path[len(root) :].lstrip("/") for path in found}
        for path, name in names.items():
            if not name or ".." in PurePosixPath(name).parts:
                raise ArtifactMissingError(f"{uri} must be a folder; it holds {path!r}")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if names:
            store.get(list(names), [str(folder / name) for name in names.values()])
    except (OSError, ValueError) as error:
        raise ArtifactMissingError(f"{uri} cannot be read: {error}") from error
    if not names:
        raise ArtifactMissingError(f"there is nothing at {uri}: was the artifact deleted?")
    actual = files_digest(
        (name, (folder / name).stat().st_size, _sha256(folder / name)) for name in names.values()
    )
    if actual != digest:
        raise ArtifactChangedError(
            f"the files at {uri} have digest {actual}, but {digest} was registered: "
            "they were changed after the training run, and are not loaded"
        )


def read_profile(uri: str, digest: str) -> bytes:
    """The bytes of the profile. Raises ArtifactMissingError or ArtifactChangedError."""
    store, path = _open(uri)
    try:
        content: bytes = store.cat_file(path)
    except (OSError, ValueError) as error:
        raise ArtifactMissingError(f"the profile {uri} cannot be read: {error}") from error
    actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if actual != digest:
        raise ArtifactChangedError(
            f"the profile {uri} has digest {actual}, but {digest} was registered"
        )
    return content


def _open(uri: str) -> tuple[Any, str]:
    try:
        store, path = fsspec.url_to_fs(uri)
    except (OSError, ValueError, ImportError) as error:
        raise ArtifactMissingError(f"{uri} cannot be opened: {error}") from error
    return store, path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
