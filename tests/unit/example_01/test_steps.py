"""The example's training steps: split by time, both passes alike, results that repeat."""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import joblib
import pandas as pd
import pytest
import train
from flights import HOLD_OUT_DAYS, INPUTS, LABEL, TIME, day_files, read_days
from prepare_data import labelled_flights, write_days


@pytest.fixture
def workspace(
    tmp_path: Path,
    flights: pd.DataFrame,
    weather: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A pod's workspace with 14 days of data, and the variables a step gets."""
    rows = labelled_flights(flights, weather)
    write_days(rows, str(tmp_path / "data" / "flights"), "2013-01-01", "2013-12-31")
    (tmp_path / "params.json").write_text(json.dumps({"max_iter": 5, "learning_rate": "0.1"}))
    variables = {"PARAMS_FILE": "params.json", "DATA_DIR": "data", "OUTPUT_DIR": "output"}
    for name, path in variables.items():
        monkeypatch.setenv(f"EVERLOOP_{name}", str(tmp_path / path))
    monkeypatch.setenv("EVERLOOP_SEED", "42")
    monkeypatch.setenv("EVERLOOP_PASS", "candidate")
    monkeypatch.setenv("EVERLOOP_MODEL_DIR", str(tmp_path / "output" / "model"))
    return tmp_path


def flip_labels(files: list[Path]) -> None:
    for path in files:
        rows = pd.read_parquet(path)
        rows.assign(**{LABEL: 1 - rows[LABEL]}).to_parquet(path, index=False)


def test_training_never_reads_a_held_out_day(workspace: Path) -> None:
    files = day_files(workspace / "data")
    model = workspace / "output" / "model" / "model.joblib"
    train.main()
    first = model.read_bytes()
    flip_labels(files[-HOLD_OUT_DAYS:])
    train.main()
    assert model.read_bytes() == first
    flip_labels(files[:-HOLD_OUT_DAYS])
    train.main()
    assert model.read_bytes() != first


def test_the_model_takes_raw_rows_as_a_client_sends_them(workspace: Path) -> None:
    train.main()
    model = joblib.load(workspace / "output" / "model" / "model.joblib")
    row = read_days(day_files(workspace / "data"))[INPUTS].head(1).astype({"carrier": object})
    unseen = row.assign(carrier="ZZ", temp=float("nan"), pressure=float("nan"))
    for request in (row, unseen):
        assert model.predict_proba(request).shape == (1, 2)


def test_the_candidate_pass_writes_everything_the_packaging_reads(workspace: Path) -> None:
    train.main()
    evaluate.main()
    output = workspace / "output"
    metrics = json.loads((output / "metrics.json").read_text())
    predictions = pd.read_parquet(output / "predictions.parquet")
    reference = pd.read_parquet(output / "reference.parquet")
    held_out = reference[reference["held_out"]]

    assert 0 <= metrics["val_auc"] <= 1
    assert metrics["val_rows"] == len(predictions) == len(held_out)
    assert list(reference.columns) == [*INPUTS, "time", "label", "held_out"]
    assert predictions["time"].is_monotonic_increasing
    assert held_out["time"].min() > reference.loc[~reference["held_out"], "time"].max()
    assert held_out["time"].max() == read_days(day_files(workspace / "data"))[TIME].max()
    assert predictions["score"].between(0, 1).all()


def test_the_champion_pass_scores_the_same_rows_and_writes_no_reference(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.main()
    evaluate.main()
    monkeypatch.setenv("EVERLOOP_PASS", "champion")
    monkeypatch.setenv("EVERLOOP_OUTPUT_DIR", str(workspace / "champion"))
    evaluate.main()
    pd.testing.assert_frame_equal(
        pd.read_parquet(workspace / "output" / "predictions.parquet"),
        pd.read_parquet(workspace / "champion" / "predictions.parquet"),
    )
    assert {path.name for path in (workspace / "champion").iterdir()} == {
        "metrics.json",
        "predictions.parquet",
    }


def test_too_few_days_are_refused_with_what_is_needed(workspace: Path) -> None:
    for path in day_files(workspace / "data")[HOLD_OUT_DAYS:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"10 days of data in .*at least one more"):
        train.main()
