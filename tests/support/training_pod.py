"""A training pod in a temporary folder, and small data that a real model can learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from everloop_training.layout import Layout

INPUTS = ["carrier", "hour", "temp", "night"]
DAYS = 40
ROWS_PER_DAY = 60
HELD_OUT_DAYS = 20


def make_rows(days: int = DAYS, rows_per_day: int = ROWS_PER_DAY, seed: int = 0) -> pd.DataFrame:
    """Rows in time order: text, whole number, number that may be missing, truth value; a label."""
    rng = np.random.default_rng(seed)
    count = days * rows_per_day
    start = pd.Timestamp("2013-01-01", tz="UTC")
    hours = np.tile(np.linspace(0, 23.9, rows_per_day), days)
    times = start + pd.to_timedelta(np.repeat(np.arange(days), rows_per_day) * 24 + hours, "h")
    temp = rng.normal(10, 5, count)
    carrier = rng.choice(["AA", "B6", "UA"], count)
    score = 0.2 * (temp - 10) + (carrier == "B6") + rng.normal(0, 1, count)
    temp[rng.random(count) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "carrier": carrier,
            "hour": hours.astype(np.int64),
            "temp": temp,
            "night": (hours < 6) | (hours > 22),
            "time": times,
            "late": (score > 0.5).astype(np.int64),
        }
    )


def write_days(rows: pd.DataFrame, folder: Path) -> None:
    """One Parquet file a day."""
    folder.mkdir(parents=True, exist_ok=True)
    for day, of_day in rows.groupby(rows["time"].dt.date):
        of_day.to_parquet(folder / f"day={day}.parquet", index=False)


def fit(rows: pd.DataFrame, **parameters: Any) -> Pipeline:
    """A pipeline over raw columns."""
    encode = ColumnTransformer(
        [
            (
                "texts",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
                ["carrier"],
            )
        ],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0, **parameters)
    return Pipeline([("encode", encode), ("model", model)]).fit(rows[INPUTS], rows["late"])


def evaluate(model: Pipeline, rows: pd.DataFrame, output: Path, *, reference: bool = True) -> None:
    """What a step with role Evaluate does: score the newest days, and write the reference."""
    output.mkdir(parents=True, exist_ok=True)
    days = rows["time"].dt.date
    held_out = days >= sorted(days.unique())[-HELD_OUT_DAYS]
    tested = rows[held_out]
    score = model.predict_proba(tested[INPUTS])[:, 1]
    metrics = {"val_auc": roc_auc_score(tested["late"], score)}
    (output / "metrics.json").write_text(json.dumps(metrics))
    pd.DataFrame({"time": tested["time"], "label": tested["late"], "score": score}).to_parquet(
        output / "predictions.parquet", index=False
    )
    if reference:
        rows[INPUTS].assign(time=rows["time"], held_out=held_out).to_parquet(
            output / "reference.parquet", index=False
        )


def dump(model: Any, folder: Path) -> None:
    """As a train step writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")


class TrainingPod:
    """The folders of a pod below `root`, with a run.json that `fields` overrides."""

    def __init__(self, root: Path, **fields: Any) -> None:
        self.layout = Layout(root)
        for folder in (
            self.layout.run_config.parent,
            self.layout.source_config,
            self.layout.token.parent,
            self.layout.termination_log.parent,
            self.layout.runner_shim.parent,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        self.layout.runner_shim.write_bytes(b"\x7fELF")
        self.layout.token.write_text("token-1\n")
        (self.layout.source_config / "train.py").write_text("print('training')\n")
        self.config: dict[str, Any] = {
            "schema": 1,
            "namespace": "team",
            "run": "flights-1",
            "uid": "u-1",
            "modelName": "flights",
            "source": {"configMap": "code"},
            "data": [],
            "newData": None,
            "parameters": {},
            "seed": 42,
            "steps": [
                {"name": "train", "image": "x", "role": None},
                {"name": "evaluate", "image": "x", "role": "Evaluate"},
            ],
            "output": {"uri": f"file://{root}/models/flights", "format": "sklearn"},
            "champion": None,
            "versus": [],
            "runner": "everloop test",
            **fields,
        }
        self.write_config()

    def write_config(self, **fields: Any) -> None:
        """Change run.json."""
        self.config.update(fields)
        self.layout.run_config.write_text(json.dumps(self.config))

    @property
    def termination(self) -> dict[str, Any]:
        """The termination message."""
        return dict(json.loads(self.layout.termination_log.read_text()))

    def record_step(self, name: str, exit_code: int = 0, **fields: Any) -> None:
        """What the shim writes when a step has ended."""
        self.layout.steps.mkdir(parents=True, exist_ok=True)
        record = {
            "name": name,
            "exitCode": exit_code,
            "signal": None,
            "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:00:01Z",
            "tolerated": name.endswith("-champion"),
            "lastLines": [],
            **fields,
        }
        (self.layout.steps / f"{name}.json").write_text(json.dumps(record))
