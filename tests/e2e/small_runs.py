"""Manifests of TrainingRuns that take seconds: one step, a script in a ConfigMap, no framework."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

BUCKET = "e2e"
TRAIN = """
import json, os, pathlib
import joblib
from sklearn.dummy import DummyClassifier

out = pathlib.Path(os.environ["EVERLOOP_OUTPUT_DIR"])
(out / "model").mkdir(parents=True, exist_ok=True)
model = DummyClassifier(strategy="prior").fit([[0.0], [1.0]], [0, 1])
joblib.dump(model, out / "model" / "model.joblib")
(out / "metrics.json").write_text(json.dumps({"auc": 0.5}))
"""


def python(*lines: str) -> list[str]:
    """A step's command that runs these lines."""
    return ["python", "-c", "\n".join(lines)]


def make_run(name: str, namespace: str, command: list[str], **spec: Any) -> Object:
    """A TrainingRun of one step `train`; `spec` replaces its fields, `step` the step's."""
    step = {"name": "train", "command": command, **spec.pop("step", {})}
    pod = {
        "envFrom": [{"secretRef": {"name": "s3-credentials"}}],
        "resources": {
            "requests": {"cpu": "20m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
        **spec.pop("pod", {}),
    }
    return {
        "apiVersion": "everloop.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "modelName": spec.pop("modelName", name),
            "steps": [step],
            "output": {"uri": f"s3://{BUCKET}/models/{name}", "format": "sklearn"},
            "pod": pod,
            **spec,
        },
    }
