"""Step `evaluate` (role Evaluate): scores one model on the held-out days.

Everloop runs it twice on the same data: for the new model, and for the champion if there is one.
`EVERLOOP_MODEL_DIR` says which model, `EVERLOOP_OUTPUT_DIR` where to write:

- `metrics.json`: metrics over the hold-out; the gates and the Experiment read them;
- `predictions.parquet`: one row per held-out flight; the paired comparison of two models resamples
  its days;
- `reference.parquet` (new model only): recent inputs as they are served. A Monitor compares live
  requests with them, and learns from them how much a window differs from the rest without drift.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from flights import (
    ID,
    INPUTS,
    LABEL,
    REFERENCE_DAYS,
    TIME,
    day_files,
    hold_out_files,
    read_days,
)
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score


def evaluate(truth: pd.Series, score: np.ndarray) -> dict[str, float]:
    """Metrics of the probability `score` that a flight is late; none depends on a threshold."""
    return {
        "val_auc": roc_auc_score(truth, score),
        "val_average_precision": average_precision_score(truth, score),
        "val_log_loss": log_loss(truth, score),
        "val_brier": brier_score_loss(truth, score),
        "val_late_share": float(truth.mean()),
        "val_rows": float(len(truth)),
    }


def predictions(rows: pd.DataFrame, score: np.ndarray) -> pd.DataFrame:
    """Row id, time, truth and score of the held-out rows, in the order of the data."""
    return pd.DataFrame({"id": rows[ID], "time": rows[TIME], "label": rows[LABEL], "score": score})


def reference(files: list[Path]) -> pd.DataFrame:
    """The inputs of the newest days with their time and label; `held_out` marks unseen rows."""
    recent = read_days(files[-REFERENCE_DAYS:])
    held_out_from = read_days(hold_out_files(files))[TIME].min()
    return recent[INPUTS].assign(
        time=recent[TIME], label=recent[LABEL], held_out=recent[TIME] >= held_out_from
    )


def main() -> None:
    files = day_files(Path(os.environ["EVERLOOP_DATA_DIR"]))
    model = joblib.load(Path(os.environ["EVERLOOP_MODEL_DIR"]) / "model.joblib")
    output = Path(os.environ["EVERLOOP_OUTPUT_DIR"])
    output.mkdir(parents=True, exist_ok=True)

    rows = read_days(hold_out_files(files))
    score = model.predict_proba(rows[INPUTS])[:, 1]
    metrics = evaluate(rows[LABEL], score)
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1))
    predictions(rows, score).to_parquet(output / "predictions.parquet", index=False)
    if os.environ.get("EVERLOOP_PASS", "candidate") == "candidate":
        reference(files).to_parquet(output / "reference.parquet", index=False)
    print(f"hold-out {rows[TIME].min()} to {rows[TIME].max()}: {json.dumps(metrics)}")


if __name__ == "__main__":
    main()
