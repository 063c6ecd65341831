"""Fetching: by content, reproducibly, and with errors that say what to do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_pod import TrainingPod, dump, make_rows, write_days

from everloop.contract import files_digest
from everloop_training import store
from everloop_training.__main__ import main
from everloop_training.errors import RunError, write_termination
from everloop_training.fetch import fetch, parameter_value


def data_set(folder: Path, digest: str | None = None) -> list[dict[str, str | None]]:
    return [{"name": "train", "uri": f"file://{folder}/", "digest": digest}]


@pytest.fixture
def days(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    write_days(make_rows(days=4), folder)
    return folder


def fetched_data(pod: TrainingPod) -> dict[str, object]:
    return dict(json.loads(pod.layout.fetched.read_text())["resolved"]["data"][0])


def test_all_of_it_is_recorded(tmp_path: Path, days: Path) -> None:
    pod = TrainingPod(
        tmp_path / "pod", data=data_set(days), parameters={"rate": "0.1", "depth": "3", "loss": "x"}
    )
    fetch(pod.layout, {})
    assert (pod.layout.source / "train.py").read_text() == "print('training')\n"
    assert json.loads(pod.layout.params.read_text()) == {"rate": 0.1, "depth": 3, "loss": "x"}
    assert pod.layout.shim.stat().st_mode & 0o777 == 0o555
    data = fetched_data(pod)
    assert (data["files"], data["rows"]) == (4, 240)
    assert data["timeSpan"] == {"start": "2013-01-01T00:00:00Z", "end": "2013-01-04T23:54:00Z"}
    assert len(list((pod.layout.data / "train").glob("*.parquet"))) == 4
    assert pod.termination == {"commit": None, "data": {"train": data["digest"]}}


def test_a_single_file_is_data_too(tmp_path: Path, days: Path) -> None:
    file = days / "day=2013-01-01.parquet"
    pod = TrainingPod(tmp_path / "pod", data=[{"name": "train", "uri": f"file://{file}"}])
    fetch(pod.layout, {})
    assert (pod.layout.data / "train" / file.name).read_bytes() == file.read_bytes()


def test_a_pin_that_holds(tmp_path: Path, days: Path) -> None:
    digest = store.digest(store.hash_folder(days))
    pod = TrainingPod(tmp_path / "pod", data=data_set(days, digest))
    fetch(pod.layout, {})
    assert fetched_data(pod)["digest"] == digest


def test_changed_data_names_both_digests(tmp_path: Path, days: Path) -> None:
    pinned = store.digest(store.hash_folder(days))
    (days / "day=2013-01-02.parquet").write_bytes(b"other")
    pod = TrainingPod(tmp_path / "pod", data=data_set(days, pinned))
    with pytest.raises(RunError) as caught:
        fetch(pod.layout, {})
    assert caught.value.reason == "DataChanged"
    assert pinned in str(caught.value)
    assert store.digest(store.hash_folder(days)) in str(caught.value)


def test_a_pin_finds_what_an_append_only_store_held(tmp_path: Path, days: Path) -> None:
    """A retry reads what the first attempt read although more has arrived since."""
    for age, path in enumerate(sorted(days.iterdir())):
        os.utime(path, (1000 + age, 1000 + age))
    first = store.digest(store.hash_folder(days))
    later = days / "day=2013-01-00.parquet"
    later.write_bytes((days / "day=2013-01-01.parquet").read_bytes())
    os.utime(later, (2000, 2000))
    pod = TrainingPod(tmp_path / "pod", data=data_set(days))
    resolution = json.dumps({"commit": None, "data": {"train": first}})
    fetch(pod.layout, {"EVERLOOP_RESOLUTION": resolution})
    assert fetched_data(pod)["digest"] == first
    assert not (pod.layout.data / "train" / later.name).exists()


def test_missing_data_names_the_uri(tmp_path: Path) -> None:
    pod = TrainingPod(tmp_path / "pod", data=data_set(tmp_path / "nothing"))
    assert main(["fetch", "--root", str(pod.layout.root)]) == 1
    assert pod.termination["reason"] == "DataMissing"
    assert f"file://{tmp_path}/nothing/" in pod.termination["lastLines"]


def test_memory_store(tmp_path: Path) -> None:
    store.write_file("memory://data/b.csv", b"2")
    store.write_file("memory://data/sub/a.csv", b"1")
    pod = TrainingPod(tmp_path / "pod", data=[{"name": "train", "uri": "memory://data/"}])
    fetch(pod.layout, {})
    data = fetched_data(pod)
    assert (data["files"], data["rows"], data["timeSpan"]) == (2, None, None)
    assert (pod.layout.data / "train" / "sub" / "a.csv").read_bytes() == b"1"


def champion(folder: Path, digest: str) -> dict[str, str]:
    return {
        "deployment": "flights",
        "modelVersion": "flights-v1",
        "digest": digest,
        "uri": f"file://{folder}",
        "format": "sklearn",
    }


def test_the_champion_is_brought(tmp_path: Path) -> None:
    dump({"a": 1}, tmp_path / "model")
    digest = store.digest(store.hash_folder(tmp_path / "model"))
    pod = TrainingPod(tmp_path / "pod", champion=champion(tmp_path / "model", digest))
    fetch(pod.layout, {})
    assert (pod.layout.champion / "model" / "model.joblib").is_file()
    assert json.loads(pod.layout.fetched.read_text())["champion"]["problem"] == ""


def test_a_changed_champion_is_recorded_and_not_left_there(tmp_path: Path) -> None:
    dump({"a": 1}, tmp_path / "model")
    pod = TrainingPod(tmp_path / "pod", champion=champion(tmp_path / "model", "sha256:" + "0" * 64))
    fetch(pod.layout, {})
    problem = json.loads(pod.layout.fetched.read_text())["champion"]["problem"]
    assert "sha256:" + "0" * 64 in problem
    assert not (pod.layout.champion / "model").exists()


def git(folder: Path, *arguments: str) -> str:
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
    identity |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in identity.items()}
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    environment = {**os.environ, **identity}
    done = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "training").mkdir(parents=True)
    (folder / "training" / "train.py").write_text("one")
    git(folder, "init", "-q", ".")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    git(folder, "tag", "v1")
    (folder / "training" / "train.py").write_text("two")
    git(folder, "commit", "-q", "-a", "-m", "two")
    return folder


@pytest.mark.parametrize(
    ("revision", "text"),
    [("main", "two"), ("v1", "one"), ("HEAD", "two"), ("full", "one"), ("short", "one")],
)
def test_git_revisions(tmp_path: Path, repository: Path, revision: str, text: str) -> None:
    first = git(repository, "rev-parse", "v1")
    named = {"full": first, "short": first[:8]}.get(revision, revision)
    source = {"git": {"url": f"file://{repository}", "revision": named, "path": "training"}}
    pod = TrainingPod(tmp_path / "pod", source=source)
    fetch(pod.layout, {})
    assert (pod.layout.source / "train.py").read_text() == text
    assert pod.termination["commit"] == git(repository, "rev-parse", named)


def test_a_retry_uses_the_first_attempts_commit(tmp_path: Path, repository: Path) -> None:
    source = {"git": {"url": f"file://{repository}", "revision": "main", "path": "training"}}
    pod = TrainingPod(tmp_path / "pod", source=source)
    first = git(repository, "rev-parse", "v1")
    fetch(pod.layout, {"EVERLOOP_RESOLUTION": json.dumps({"commit": first, "data": {}})})
    assert (pod.layout.source / "train.py").read_text() == "one"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"revision": "no-such-branch"}, "no-such-branch"),
        ({"path": "nowhere"}, "nowhere"),
        ({"path": "../.."}, "source.git.path"),
        ({"revision": "--upload-pack=x"}, "dash"),
        ({"url": "file:///no/such/repository"}, "git fetch failed"),
    ],
)
def test_git_failures(tmp_path: Path, repository: Path, change: dict[str, str], said: str) -> None:
    source = {"git": {"url": f"file://{repository}", "revision": "main", "path": "", **change}}
    pod = TrainingPod(tmp_path / "pod", source=source)
    with pytest.raises(RunError, match=said) as caught:
        fetch(pod.layout, {})
    assert caught.value.reason == "SourceUnavailable"


FILES = st.dictionaries(st.text("abc/", min_size=1), st.integers(0, 10**9), min_size=1)


@given(FILES, st.randoms(use_true_random=False))
def test_a_digest_is_of_the_files_not_of_their_order(files: dict[str, int], random: object) -> None:
    entries = [(name, size, f"{size:064x}") for name, size in files.items()]
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert files_digest(shuffled) == files_digest(entries)
    name, size, sha256 = entries[0]
    assert files_digest([(name, size + 1, sha256), *entries[1:]]) != files_digest(entries)


def test_the_digest_is_as_documented() -> None:
    """One fixed value (by sha256sum): what is registered must be found again by later versions."""
    assert files_digest([("b", 1, "0" * 64), ("a", 2, "f" * 64)]) == (
        "sha256:cb4290831532fa0e5f1fb3ca70508e5c8306841a1626f566b5e6c60eb5b914a8"
    )


@given(st.integers(-(10**17), 10**17))
def test_whole_parameters_stay_whole(value: int) -> None:
    assert parameter_value(str(value)) == value


@given(st.text(max_size=4000))
def test_a_termination_message_is_short_and_whole(tmp_path_factory: object, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "termination"  # type: ignore[attr-defined]
    write_termination(path, RunError("DataMissing", text), 1)
    content = path.read_bytes()
    assert len(content) <= 1150
    assert text.startswith(json.loads(content)["lastLines"])


def test_uploading_again_writes_nothing(tmp_path: Path) -> None:
    """A retried attempt, or another run with the same result, finds its files there."""
    dump({"a": 1}, tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("x")
    uri = f"file://{tmp_path}/store/sha256-1/model"
    store.upload(tmp_path / "model", uri)
    stored = tmp_path / "store" / "sha256-1" / "model"
    assert store.digest(store.hash_folder(stored)) == store.digest(
        store.hash_folder(tmp_path / "model")
    )
    os.utime(stored / "model.joblib", (1000, 1000))
    (stored / "notes.txt").write_text("")  # an upload that broke off
    store.upload(tmp_path / "model", uri)
    assert (stored / "model.joblib").stat().st_mtime == 1000
    assert (stored / "notes.txt").read_text() == "x"


def test_a_link_out_of_the_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "token").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="leads out"):
        store.hash_folder(tmp_path / "model")
