"""A first model: iris, trained and scored on rows held out, in the two files a run must write."""

import json
import os
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

parameters = json.loads(Path(os.environ["EVERLOOP_PARAMS_FILE"]).read_text())
output = Path(os.environ["EVERLOOP_OUTPUT_DIR"])
rows = load_iris(as_frame=True)
train, test, label, truth = train_test_split(
    rows.data, rows.target, test_size=0.3, random_state=int(os.environ["EVERLOOP_SEED"])
)
model = LogisticRegression(C=parameters["C"], max_iter=1000).fit(train, label)
accuracy = model.score(test, truth)

(output / "model").mkdir(parents=True, exist_ok=True)
joblib.dump(model, output / "model" / "model.joblib")
(output / "metrics.json").write_text(json.dumps({"accuracy": accuracy}))
print(f"accuracy {accuracy:.3f} with {parameters}")
