"""Our commands in a working directory in which somebody has left modules: nothing of it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from training_pod import TrainingPod, dump, evaluate, fit, make_rows

from everloop import contract
from everloop.manifests.pod import PYTHON
from everloop.manifests.trainingrun_job import RUNNER
from everloop_training.package import score_reference

MODULES = ("json.py", "pandas.py", "everloop_training/__init__.py", "everloop_server/__init__.py")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder whose modules leave the file `ran` beside it when imported, and end the process."""
    folder = tmp_path / "tmp"
    marker = str(tmp_path / "ran")
    code = f"import pathlib\npathlib.Path({marker!r}).touch()\nraise SystemExit(99)\n"
    for module in MODULES:
        path = folder / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return folder


def run(command: Sequence[str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A pod's command, with this Python."""
    environment = {**os.environ, "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, *command[1:], *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("phase", ["fetch", "package"])
def test_the_runner_runs_its_own_code(tmp_path: Path, hostile: Path, phase: str) -> None:
    """It gets as far as in an empty folder: to what is missing in the pod."""
    pod = TrainingPod(tmp_path / "pod", schema="of the future")
    done = run([*RUNNER, phase], hostile, "--root", str(tmp_path / "pod"))
    assert done.returncode == 1, done.stderr
    assert pod.termination["reason"] == "InvalidConfig"
    assert not (tmp_path / "ran").exists()


def test_the_model_server_runs_its_own_code(tmp_path: Path, hostile: Path) -> None:
    done = run([*PYTHON, "everloop_server"], hostile)
    assert done.returncode == 3, done.stderr
    assert contract.ENV_MODEL_NAME in done.stderr
    assert not (tmp_path / "ran").exists()


def test_scoring_runs_its_own_code(
    tmp_path: Path, hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, rows = TrainingPod(tmp_path / "pod"), make_rows()
    model = fit(rows)
    dump(model, pod.layout.output / contract.MODEL_SUBDIR)
    evaluate(model, rows, pod.layout.output)
    monkeypatch.chdir(hostile)
    scored = score_reference(pod.layout, pod.layout.output / contract.MODEL_SUBDIR, "sklearn")
    assert scored.signature is not None
    assert not (tmp_path / "ran").exists()


def test_without_the_option_what_was_left_would_run(tmp_path: Path, hostile: Path) -> None:
    """So the tests above mean something."""
    done = run([item for item in RUNNER if item != "-P"], hostile, "package")
    assert done.returncode == 99
    assert (tmp_path / "ran").exists()
