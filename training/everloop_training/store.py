"""Files in any store that fsspec knows: list, download with digests, upload by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import fsspec
from fsspec.implementations.local import LocalFileSystem

from everloop.contract import files_digest

THREADS: Final = 16  # many small files are a matter of round trips
# The modification time, as the stores' file systems call it.
MODIFIED_KEYS: Final = ("LastModified", "mtime", "updated", "last_modified", "modified", "created")


@dataclass(frozen=True)
class Remote:
    """A file in a store; `name` is relative to the data set's uri, with forward slashes."""

    path: str
    name: str
    size: int
    modified: datetime | None


@dataclass(frozen=True)
class Local:
    """A file that was downloaded, and what it contains."""

    name: str
    path: Path
    size: int
    sha256: str
    modified: datetime | None = None


def list_files(uri: str) -> tuple[Any, list[Remote]]:
    """The store and its files at or below `uri`, by name; none if there is nothing.

    Raises OSError or ValueError when the store cannot be asked.
    """
    store, root = fsspec.url_to_fs(uri)
    store.invalidate_cache()  # a listing of a minute ago misses what has arrived
    root = root.rstrip("/")
    remotes = []
    for path, info in store.find(root, detail=True).items():
        name = path[len(root) :].lstrip("/") or PurePosixPath(path).name
        parts = PurePosixPath(name).parts
        if info.get("type") == "directory" or ".." in parts:
            continue  # some stores keep an empty object for a folder
        size = int(info.get("size") or 0)
        remotes.append(Remote(path, name, size, _modified(info)))
    return store, sorted(remotes, key=lambda remote: remote.name)


def download(store: Any, remotes: Iterable[Remote], folder: Path) -> list[Local]:
    """Copy files below `folder` under their names, and hash what was written."""
    remotes = list(remotes)
    targets = [folder / remote.name for remote in remotes]
    for parent in {target.parent for target in targets}:
        parent.mkdir(parents=True, exist_ok=True)
    if remotes:
        store.get([remote.path for remote in remotes], [str(target) for target in targets])
    return hash_files(
        {remote.name: target for remote, target in zip(remotes, targets, strict=True)},
        {remote.name: remote.modified for remote in remotes},
    )


def hash_files(
    paths: Mapping[str, Path], modified: Mapping[str, datetime | None] | None = None
) -> list[Local]:
    """Size and sha256 of files, by name."""
    times = modified or {}
    with ThreadPoolExecutor(THREADS) as threads:
        digests = list(threads.map(_sha256, paths.values()))
    return [
        Local(name, path, path.stat().st_size, sha256, times.get(name))
        for (name, path), sha256 in zip(paths.items(), digests, strict=True)
    ]


def hash_folder(folder: Path) -> list[Local]:
    """All files below a folder, by their relative names; links that lead out of it are refused."""
    paths = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{path} is a link that leads out of {folder}")
            paths[path.relative_to(folder).as_posix()] = path
    return hash_files(paths)


def digest(files: Iterable[Local]) -> str:
    """One digest of several files, whatever their order."""
    return files_digest((file.name, file.size, file.sha256) for file in files)


def oldest_with_digest(files: Iterable[Local], wanted: str) -> list[Local] | None:
    """The files that were stored first and together have the digest `wanted`, if there are any.

    A store that is only appended to thus still gives what it held at an earlier moment, without any
    record of the list of files.
    """
    by_age = sorted(
        (file for file in files if file.modified is not None),
        key=lambda file: (file.modified, file.name),
    )
    for count in range(len(by_age), max(0, len(by_age) - 2000), -1):
        if digest(by_age[:count]) == wanted:
            return by_age[:count]
    return None


def upload(folder: Path, uri: str) -> None:
    """Copy a folder's files to `uri`, those excepted that are there with the same size.

    The key contains the content's digest, so the same name and size is the same file, but for an
    upload that broke off, which leaves none or a shorter one.
    """
    store, root = fsspec.url_to_fs(uri)
    root = root.rstrip("/")
    store.invalidate_cache()
    try:
        present = {
            path: int(info.get("size") or 0) for path, info in store.find(root, detail=True).items()
        }
    except FileNotFoundError:
        present = {}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    targets = {f"{root}/{path.relative_to(folder).as_posix()}": path for path in files}
    missing = {
        target: path
        for target, path in targets.items()
        if present.get(target) != path.stat().st_size
    }
    for target, path in missing.items():
        _make_parent(store, target)
        store.put_file(str(path), target)


def write_file(uri: str, content: bytes) -> None:
    """Write one small file."""
    store, path = fsspec.url_to_fs(uri)
    _make_parent(store, path)
    store.pipe_file(path, content)


def _make_parent(store: Any, path: str) -> None:
    """Only disks need folders; in an object store this would make the bucket, which is not ours."""
    if isinstance(store, LocalFileSystem):
        store.makedirs(str(PurePosixPath(path).parent), exist_ok=True)


def _modified(info: Mapping[str, Any]) -> datetime | None:
    for key in MODIFIED_KEYS:
        value = info.get(key)
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
