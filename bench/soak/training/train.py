"""Step `train`: a logistic regression on the first part of the newest day."""

from __future__ import annotations

import os
from pathlib import Path

import joblib
from day import INPUTS, LABEL, newest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

rows = newest()
seen = rows[~rows["held_out"]]
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(seen[INPUTS], seen[LABEL])
target = Path(os.environ["EVERLOOP_OUTPUT_DIR"]) / "model"
target.mkdir(parents=True, exist_ok=True)
joblib.dump(model, target / "model.joblib")
