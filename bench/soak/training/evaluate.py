"""Step `evaluate`: accuracy on the held-out part, and the inputs as they are served."""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
import pandas as pd
from day import INPUTS, LABEL, newest

rows = newest()
held_out = rows[rows["held_out"]]
model = joblib.load(Path(os.environ["EVERLOOP_MODEL_DIR"]) / "model.joblib")
score = model.predict_proba(held_out[INPUTS])[:, 1]
label = held_out[LABEL]
output = Path(os.environ["EVERLOOP_OUTPUT_DIR"])
accuracy = float(((score > 0.5) == (label == 1)).mean())
(output / "metrics.json").write_text(json.dumps({"val_accuracy": accuracy}))
pd.DataFrame({"score": score, "label": label}).to_parquet(
    output / "predictions.parquet", index=False
)
if os.environ["EVERLOOP_PASS"] == "candidate":
    rows[[*INPUTS, LABEL, "held_out"]].to_parquet(output / "reference.parquet", index=False)
