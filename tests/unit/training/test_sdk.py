"""The SDK: standard library only, the same in a pod and on a laptop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import everloop
import everloop_training

SOURCES = [str(Path(str(module.__file__)).parents[1]) for module in (everloop, everloop_training)]


def run(script: str, folder: Path, **environment: str) -> Any:
    """What a script prints (JSON), run without any installed package."""
    preamble = f"import sys, json; sys.path[:0] = {SOURCES!r}\nfrom everloop_training import sdk\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", preamble + script],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SCRIPT = """
sdk.log_metrics({"val_auc": 0.5, "rows": 3})
sdk.log_metrics({"val_auc": 0.7})
(sdk.model_dir() / "model.joblib").write_text("x")
print(json.dumps([sdk.params(), sdk.seed(), sdk.data("train").name, sdk.is_champion_pass()]))
"""


def test_on_a_laptop(tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    assert run(SCRIPT, tmp_path) == [{}, 0, "train", False]
    assert json.loads((tmp_path / "output" / "metrics.json").read_text()) == {
        "val_auc": 0.7,
        "rows": 3,
    }
    assert (tmp_path / "output" / "model" / "model.joblib").is_file()


def test_in_the_champions_pass(tmp_path: Path) -> None:
    (tmp_path / "workspace" / "data" / "train").mkdir(parents=True)
    params = tmp_path / "workspace" / "params.json"
    params.write_text('{"rate": 0.1}')
    said = run(
        SCRIPT,
        tmp_path,
        EVERLOOP_PARAMS_FILE=str(params),
        EVERLOOP_SEED="42",
        EVERLOOP_DATA_DIR=str(tmp_path / "workspace" / "data"),
        EVERLOOP_OUTPUT_DIR=str(tmp_path / "workspace" / "champion"),
        EVERLOOP_MODEL_DIR=str(tmp_path / "workspace" / "champion" / "model"),
        EVERLOOP_PASS="champion",
    )
    assert said == [{"rate": 0.1}, 42, "train", True]
    assert (tmp_path / "workspace" / "champion" / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("sdk.data('test')", "no data set 'test'"),
        ("sdk.log_metrics({'a': float('nan')})", "not JSON compliant"),
        ("sdk.log_metrics({'a': 'high'})", "could not convert"),
    ],
)
def test_mistakes(tmp_path: Path, call: str, said: str) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    script = f"try: {call}\nexcept (ValueError, FileNotFoundError) as e: print(json.dumps(str(e)))"
    assert said in run(script, tmp_path)
