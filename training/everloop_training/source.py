"""Users' code: from git at one commit, or from a mounted ConfigMap."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from everloop_training import store
from everloop_training.errors import SOURCE_UNAVAILABLE, RunError
from everloop_training.runconfig import Git

PROTOCOLS = "https:http:ssh:git:file"  # others are programs that a URL may start


def fetch_git(git: Git, commit: str | None, target: Path) -> str:
    """Put the folder `git.path` of a repository into `target`; the commit it comes from.

    `commit` is what an earlier attempt resolved the revision to; that is what counts then. Raises
    RunError(SourceUnavailable) with what git said.
    """
    wanted = commit or git.revision
    for value in (git.url, wanted):
        if value.startswith("-"):
            raise RunError(SOURCE_UNAVAILABLE, f"source.git: {value!r} must not begin with a dash")
    with tempfile.TemporaryDirectory(prefix="git-") as folder:
        repository = Path(folder)
        _git(repository, "init", "-q", ".")
        shallow = _git(repository, "fetch", "-q", "--depth=1", git.url, wanted, check=False)
        if shallow is None:  # a short commit, or a server that gives branches and tags only
            _git(repository, "fetch", "-q", git.url, "+refs/*:refs/remote/*")
            found = _resolve(repository, git, wanted)
        else:
            found = _git(repository, "rev-parse", "--verify", "-q", "FETCH_HEAD^{commit}") or ""
        _git(repository, "-c", "advice.detachedHead=false", "checkout", "-q", found)
        shutil.rmtree(repository / ".git")
        folder_in = _inside(repository, git.path)
        if folder_in is None:
            raise RunError(
                SOURCE_UNAVAILABLE,
                f"source.git.path: there is no folder {git.path!r} in {git.url} at {found}",
            )
        _copy(folder_in, target)
    return found


def copy_config_map(mounted: Path, target: Path) -> None:
    """Put the keys of a mounted ConfigMap into `target`, as files."""
    if not mounted.is_dir():
        raise RunError(SOURCE_UNAVAILABLE, f"the ConfigMap of spec.source is not at {mounted}")
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(mounted.iterdir()):
        if path.is_file():  # the kubelet's links `..data` are folders
            shutil.copyfile(path, target / path.name)


def source_digest(folder: Path) -> str:
    """Digest of the code's files. Links that lead out of the folder are refused."""
    try:
        return store.digest(store.hash_folder(folder))
    except (OSError, ValueError) as error:
        raise RunError(SOURCE_UNAVAILABLE, f"source: {error}") from error


def _inside(repository: Path, path: str) -> Path | None:
    """The folder `path` of a checkout; None if there is none, or if it is not inside."""
    try:
        found = (repository / path).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # nothing, too long; links in a circle; a NUL
        return None
    return found if found.is_relative_to(repository.resolve()) and found.is_dir() else None


def _resolve(repository: Path, git: Git, wanted: str) -> str:
    for name in (f"refs/remote/heads/{wanted}", f"refs/remote/tags/{wanted}", wanted):
        found = _git(repository, "rev-parse", "--verify", "-q", f"{name}^{{commit}}", check=False)
        if found:
            return found
    raise RunError(
        SOURCE_UNAVAILABLE,
        f"source.git.revision: {wanted!r} is no branch, tag or commit of {git.url}",
    )


def _git(folder: Path, *arguments: str, check: bool = True) -> str | None:
    """What git prints; None if it fails and need not succeed."""
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",  # a private repository must fail, not wait for a person
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": PROTOCOLS,
    }
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL, which no program can be given
        raise RunError(SOURCE_UNAVAILABLE, f"git cannot be run: {error}") from error
    if done.returncode == 0:
        return done.stdout.strip()
    if check:
        said = done.stderr.strip()[-600:]
        raise RunError(SOURCE_UNAVAILABLE, f"git {arguments[0]} failed: {said}")
    return None


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
