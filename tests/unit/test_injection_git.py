"""A URL, a revision and a path of `spec.source.git` are words for git, and a place in the checkout.

They run nothing, are no option, and lead nowhere else.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from everloop_training import source
from everloop_training.errors import RunError
from everloop_training.runconfig import Git
from everloop_training.source import fetch_git, source_digest

COMMIT = "ab" * 20
ALLOWED = {"https", "http", "ssh", "git", "file"}  # what git speaks itself
few = settings(max_examples=20)  # each starts git several times
NASTY = [
    "-", "--", "--upload-pack=touch ran", "-oProxyCommand=touch ran", "-c", "fd::0",
    "ext::sh -c touch% ran", "$(touch ran)", "`touch ran`", "; touch ran", "HEAD; touch ran", "a b",
    "a\nb", "", "..", "+refs/heads/*:refs/heads/*", "HEAD:../../x", "HEAD^{commit}", "@{-1}", ":/x",
    "HEAD..HEAD", "\0", "\ud800", "é", "~", "git@-oProxyCommand=x:y", "ssh://-oProxyCommand=x/y",
]  # fmt: skip
words = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=20),
    st.lists(st.sampled_from(NASTY), max_size=3).map("".join),
)


@pytest.fixture(scope="module", autouse=True)
def no_copies_of_the_disk() -> Iterator[None]:
    """What is copied is in a checkout: a failure of these tests is not a copy of all there is."""
    copy = source._copy

    def checked(folder: Path, target: Path) -> None:
        assert any(part.startswith("git-") for part in folder.resolve().parts), (
            f"{folder} would be copied"
        )
        copy(folder, target)

    with patch.object(source, "_copy", checked):
        yield


@dataclass
class FakeGit:
    """In place of git: keeps how it is called. `tree` makes what a checkout brings."""

    knows: bool = True  # the revision, at the first try
    calls: list[tuple[str, ...]] = field(default_factory=list)
    protocols: set[str] = field(default_factory=set)

    def __call__(self, command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        assert isinstance(command, list), "one string would be for a shell"
        assert not options.keys() & {"shell", "executable"}
        assert options["stdin"] == subprocess.DEVNULL
        self.calls.append(tuple(command))
        self.protocols |= set(options["env"]["GIT_ALLOW_PROTOCOL"].split(":"))
        if "init" in command:
            (options["cwd"] / ".git").mkdir()
        if "checkout" in command:
            self.tree(options["cwd"])
        failed = not self.knows and (
            "--depth=1" in command or command[-1].startswith("refs/remote")
        )
        return subprocess.CompletedProcess(command, int(failed), f"{COMMIT}\n", "unknown")

    def tree(self, checkout: Path) -> None:
        """A checkout with nothing in it."""


@contextmanager
def fetched_with(git: FakeGit) -> Iterator[Path]:
    """Where `fetch_git` may put what it finds."""
    with tempfile.TemporaryDirectory() as folder, patch("subprocess.run", git):
        yield Path(folder, "target")


def fetch(git: Git, target: Path, commit: str | None = None) -> tuple[str, str]:
    """The commit, and why there is none."""
    try:
        return fetch_git(git, commit, target), ""
    except RunError as error:
        assert not target.exists()
        return "", f"{error.reason}: {error}"


@given(url=words, revision=words, commit=st.none() | words, knows=st.booleans())
def test_git_gets_each_of_them_as_one_word_that_is_no_option(
    url: str, revision: str, commit: str | None, knows: bool
) -> None:
    git, wanted = FakeGit(knows), commit or revision
    with fetched_with(git) as target:
        found, _ = fetch(Git(url, revision, ""), target, commit)
    if url.startswith("-") or wanted.startswith("-"):
        assert (found, git.calls) == ("", [])
        return
    assert found == COMMIT
    names = [f"refs/remote/heads/{wanted}", f"refs/remote/tags/{wanted}", wanted, "FETCH_HEAD"]
    assert set(git.calls) <= {
        ("git", "init", "-q", "."),
        ("git", "fetch", "-q", "--depth=1", url, wanted),
        ("git", "fetch", "-q", url, "+refs/*:refs/remote/*"),
        *(("git", "rev-parse", "--verify", "-q", f"{name}^{{commit}}") for name in names),
        ("git", "-c", "advice.detachedHead=false", "checkout", "-q", COMMIT),
    }
    assert git.protocols == ALLOWED


# --- with git -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Place:
    """A repository, in a folder in which whatever runs would leave the file `ran`."""

    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments]
        done = subprocess.run(command, cwd=self.repository, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def state(self) -> list[str]:
        """All there is, but for what git keeps for itself."""
        found = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
        return sorted(path for path in found if "/.git/" not in path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("git"))
    made.repository.mkdir()
    (made.repository / "train.py").touch()
    (made.repository / "link").symlink_to("/etc")
    for command in (["init", "-q", "."], ["add", "."], ["commit", "-qm", "a link"]):
        made.git(*command)
    return made


@few
@given(protocol=st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), address=words)
def test_git_runs_no_program_for_another_protocol(protocol: str, address: str) -> None:
    """Each is there, as `git-remote-<protocol>` on the PATH, and would be run for its URLs."""
    assume(protocol not in ALLOWED)
    with tempfile.TemporaryDirectory() as folder:
        helper, ran = Path(folder, f"git-remote-{protocol}"), Path(folder, "ran")
        helper.write_text(f"#!/bin/sh\ntouch {ran}\n")
        helper.chmod(0o755)
        for between in ("::", "://"):
            url = f"{protocol}{between}{address}"
            path = f"{folder}:{os.environ['PATH']}"
            with patch.dict(os.environ, {"PATH": path}), pytest.raises(RunError):
                fetch_git(Git(url, "main", ""), None, Path(folder, "target"))
        assert not ran.exists()


REMOTE_HELPERS = ["ext::sh -c touch% {marker}", "fd::0", "-oProxyCommand=touch {marker}"]


@pytest.mark.parametrize("url", REMOTE_HELPERS, ids=["ext", "fd", "option"])
def test_git_runs_nothing_of_a_url(tmp_path: Path, url: str) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(RunError):
        fetch_git(Git(url.format(marker=marker), "main", ""), None, tmp_path / "target")
    assert not marker.exists()


@few
@example("--upload-pack=touch ran")
@example("HEAD; touch ran")
@example("$(touch ran)")
@given(words)
def test_git_runs_nothing_of_a_revision_and_finds_a_commit_or_says_so(
    place: Place, revision: str
) -> None:
    before, refs = place.state(), place.git("for-each-ref")
    revision = revision.replace(" ran", f" {place.folder}/ran")
    with tempfile.TemporaryDirectory() as folder:
        found, why = fetch(Git(str(place.repository), revision, ""), Path(folder, "to"))
        assert found in ("", place.git("rev-parse", "HEAD"))
        assert bool(found) is Path(folder, "to", "train.py").is_file()
        assert found or why.startswith("SourceUnavailable: ")
    assert (place.state(), place.git("for-each-ref")) == (before, refs)


@pytest.mark.parametrize("path", ["..", "../..", "/etc", "link"])
def test_a_path_does_not_lead_out_of_the_repository(
    place: Place, tmp_path: Path, path: str
) -> None:
    with pytest.raises(RunError, match="no folder"):
        fetch_git(Git(str(place.repository), "HEAD", path), None, tmp_path / "target")
    assert not (tmp_path / "target").exists()


# --- paths ----------------------------------------------------------------------------------------
class Hostile(FakeGit):
    """A checkout with links to everywhere, beside a folder that is none of its business."""

    def tree(self, checkout: Path) -> None:
        outside = checkout.parent / "outside"
        outside.mkdir(exist_ok=True)
        (outside / "secret").write_text("secret")
        (checkout / "code" / "deep").mkdir(parents=True)
        (checkout / "code" / "deep" / "train.py").write_text("ours")
        links = {
            "in": "code", "out": outside, "up": "..", "code/up": "../..", "circle": "circle",
            "code/far": "../../outside", "chain": "out", "file": "code/deep/train.py",
        }  # fmt: skip
        for name, to in links.items():
            (checkout / name).symlink_to(to)


parts = st.sampled_from(
    ["code", "deep", "in", "out", "up", "circle", "far", "chain", "file", "outside", "secret", "..",
     ".", "", "/", "~", "*", ".git", "\0", "x" * 300]
)  # fmt: skip
paths = st.one_of(st.lists(parts, max_size=6).map("/".join), words)


@example("code/up/outside")
@example("/".join([".."] * 30))
@given(paths)
def test_what_a_path_names_is_a_folder_of_the_checkout_or_nothing(path: str) -> None:
    with tempfile.TemporaryDirectory() as folder, fetched_with(Hostile()) as target:
        with patch("tempfile.tempdir", folder):  # so that `..` is a folder of ours
            found, why = fetch(Git("https://host/code", "main", path), target)
        if not found:
            assert "there is no folder" in why
            return
        code = [item.relative_to(target) for item in target.rglob("*") if item.name == "train.py"]
        assert code, "each folder of the checkout has the code at or below it"
        assert not [item for item in target.rglob("secret") if not item.is_symlink()]
        assert _leads_out(target) == _refused(target)


def _leads_out(target: Path) -> bool:
    """Whether a step would read through a link what is not in the folder."""
    files = [item for item in target.rglob("*") if item.is_file()]
    return any(not item.resolve().is_relative_to(target.resolve()) for item in files)


def _refused(target: Path) -> bool:
    try:
        source_digest(target)
    except RunError:
        return True
    return False
