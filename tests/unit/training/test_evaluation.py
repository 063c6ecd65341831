"""What the Evaluate step left is read, compared, and refused with a reason when it cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from training_pod import TrainingPod

from everloop_training.errors import RunError
from everloop_training.evaluation import number, read_hold_out, read_metrics, versus
from everloop_training.package import step_records, training_cutoff
from everloop_training.runconfig import load_run_config

CHAMPION = {
    "deployment": "flights",
    "modelVersion": "flights-v1",
    "digest": "sha256:" + "0" * 64,
    "uri": "s3://models/flights",
    "format": "sklearn",
}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "object"),
        ('{"val_auc": "0.7"}', 'val_auc is "0.7"'),
        ('{"val_auc": true}', "val_auc is true"),
        ('{"val_auc": NaN}', "val_auc is NaN"),
        ('{"val auc": 1}', "'val auc'"),
        ('{"nested": {"auc": 1}}', "nested"),
        (json.dumps({f"m{i}": i for i in range(65)}), "at most 64"),
    ],
)
def test_bad_metrics_say_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(RunError, match=said) as caught:
        read_metrics(path, "evaluate")
    assert caught.value.reason == "BadMetrics"


def test_metrics_are_needed_only_from_an_evaluate_step(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.json", None) == {}
    with pytest.raises(RunError, match="step evaluate has role Evaluate"):
        read_metrics(tmp_path / "metrics.json", "evaluate")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.7, "0.7"), (1.0, "1"), (-0.0, "0"), (1e-9, "1e-09"), (1 / 3, "0.3333333333")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"score": [0.1]}, "no column 'label'"),
        ({"score": [0.1, np.nan], "label": [1, 0]}, "missing"),
        ({"score": [], "label": []}, "no rows"),
        ({"score": ["x"], "label": [1]}, "cannot be read"),
        ({"score": [0.1], "label": [1], "time": ["noon"]}, "cannot be read"),
    ],
)
def test_bad_predictions(tmp_path: Path, columns: dict[str, list[Any]], said: str) -> None:
    path = tmp_path / "predictions.parquet"
    pd.DataFrame(columns).to_parquet(path)
    with pytest.raises(RunError, match=said) as caught:
        read_hold_out(path)
    assert caught.value.reason == "BadOutput"


class Evaluated(TrainingPod):
    """A pod in which both passes have written their results."""

    def __init__(self, root: Path, **fields: Any) -> None:
        metric = {"metric": "val_accuracy", "direction": "Maximize"}
        super().__init__(root, **{"champion": CHAMPION, "versus": [metric], **fields})
        rng = np.random.default_rng(0)
        self.table = pd.DataFrame(
            {
                "time": pd.date_range("2013-01-01", periods=400, freq="h", tz="UTC"),
                "label": rng.integers(0, 2, 400),
            }
        )
        self.record_step("evaluate")
        self.record_step("evaluate-champion")
        self.write(self.layout.output, right=0.9)
        self.write(self.layout.champion, right=0.6)

    def write(self, folder: Path, right: float, **metrics: float) -> None:
        """One pass of a model that is right so often."""
        hit = np.arange(400) * 37 % 100 < right * 100
        score = np.where(hit, self.table["label"], 1 - self.table["label"]) * 0.8 + 0.1
        folder.mkdir(parents=True, exist_ok=True)
        self.table.assign(score=score).to_parquet(folder / "predictions.parquet")
        (folder / "metrics.json").write_text(json.dumps({"val_accuracy": hit.mean(), **metrics}))

    def versus(self, problem: str = "") -> dict[str, Any]:
        result = versus(
            self.layout,
            load_run_config(self.layout.run_config),
            candidate_metrics=read_metrics(self.layout.output / "metrics.json", "evaluate"),
            candidate=read_hold_out(self.layout.output / "predictions.parquet"),
            steps={record["name"]: record for record in step_records(self.layout)},
            champion_problem=problem,
        )
        assert result is not None
        return result


@pytest.fixture
def pod(tmp_path: Path) -> Evaluated:
    return Evaluated(tmp_path)


def test_compared(pod: Evaluated) -> None:
    result = pod.versus()
    assert result["outcome"] == "Compared"
    assert result["metrics"] == {"val_accuracy": "0.6"}
    interval = {name: float(text) for name, text in result["intervals"]["val_accuracy"].items()}
    assert interval["difference"] == pytest.approx(0.3)
    assert 0.2 < interval["low"] < 0.3 < interval["high"] < 0.4


def test_the_same_report_each_time(pod: Evaluated) -> None:
    assert pod.versus() == pod.versus()


def test_a_champion_that_could_not_be_fetched(pod: Evaluated) -> None:
    result = pod.versus("flights-v1: gone")
    assert (result["outcome"], result["message"]) == ("Failed", "flights-v1: gone")


def test_a_champions_pass_that_failed(pod: Evaluated) -> None:
    pod.record_step("evaluate-champion", 1, lastLines=["KeyError: 'carrier'"])
    result = pod.versus()
    assert result["outcome"] == "Failed"
    assert "KeyError: 'carrier'" in result["message"]


def test_a_pass_without_results(pod: Evaluated) -> None:
    (pod.layout.champion / "metrics.json").unlink()
    assert pod.versus()["outcome"] == "Failed"


def test_different_rows_are_not_compared(pod: Evaluated) -> None:
    pod.table = pod.table.assign(label=1 - pod.table["label"])
    pod.write(pod.layout.champion, right=0.6)
    result = pod.versus()
    assert result["outcome"] == "Failed"
    assert "different rows" in result["message"]


def test_a_metric_of_other_rows_has_no_interval(pod: Evaluated) -> None:
    pod.write(pod.layout.output, right=0.9, val_accuracy=0.99)
    result = pod.versus()
    assert (result["outcome"], result["intervals"]) == ("Compared", {})
    assert "another metric" in result["message"]


def test_an_unknown_metric_has_no_interval(pod: Evaluated) -> None:
    pod.write_config(versus=[{"metric": "val_f1", "direction": "Maximize"}])
    pod.write(pod.layout.output, right=0.9, val_f1=0.5)
    pod.write(pod.layout.champion, right=0.6, val_f1=0.4)
    result = pod.versus()
    assert result["intervals"] == {}
    assert "does not know how to compute val_f1" in result["message"]


def test_without_predictions_the_values_are_told(pod: Evaluated) -> None:
    (pod.layout.output / "predictions.parquet").unlink()
    message = pod.versus()["message"]
    assert "0.9 and 0.6" in message


def test_the_training_cutoff_is_before_the_hold_out(tmp_path: Path) -> None:
    pod = TrainingPod(tmp_path)
    times = pd.date_range("2013-01-01", periods=72, freq="h", tz="UTC")
    folder = pod.layout.data / "train"
    folder.mkdir(parents=True)
    for day in range(3):
        of_day = times[day * 24 : day * 24 + 24]
        pd.DataFrame({"time": of_day}).to_parquet(folder / f"{day}.parquet")
    assert training_cutoff(pod.layout, None) == "2013-01-03T23:00:00Z"
    path = pod.layout.output / "predictions.parquet"
    path.parent.mkdir(parents=True)
    held_out = times[30:]
    pd.DataFrame({"time": held_out, "score": 0.5, "label": 1}).to_parquet(path)
    assert training_cutoff(pod.layout, read_hold_out(path)) == "2013-01-02T05:00:00Z"
