"""For users' steps: a few functions over the environment and files that every step has anyway.

    from everloop_training import sdk

    learning_rate = sdk.params()["learning_rate"]
    files = sorted(sdk.data("train").rglob("*.parquet"))
    ...
    joblib.dump(model, sdk.model_dir() / "model.joblib")
    sdk.log_metrics({"val_auc": 0.71})

Standard library only, and outside a pod everything is below the current folder, so the same script
runs on a laptop: data/<name>/, params.json, output/.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from everloop import contract

Value = int | float | str


def params() -> dict[str, Value]:
    """Hyper-parameters by name, numbers as numbers; empty if there are none."""
    path = Path(os.environ.get(contract.ENV_PARAMS_FILE, "params.json"))
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def seed() -> int:
    """The run's seed; 0 outside a pod."""
    return int(os.environ.get(contract.ENV_SEED) or 0)


def data(name: str) -> Path:
    """Folder of the data set `name` of spec.data. Raises FileNotFoundError if there is none."""
    root = Path(os.environ.get(contract.ENV_DATA_DIR, "data"))
    folder = root / name
    if not folder.is_dir():
        known = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        raise FileNotFoundError(
            f"no data set {name!r} in {root}; there is: {', '.join(known) or 'nothing'}"
        )
    return folder


def output_dir() -> Path:
    """Where this pass writes metrics.json, predictions.parquet and reference.parquet."""
    return _folder(os.environ.get(contract.ENV_OUTPUT_DIR, "output"))


def model_dir() -> Path:
    """The model: where a training step writes it, and where an Evaluate step finds the one it
    scores."""
    return _folder(
        os.environ.get(contract.ENV_MODEL_DIR) or str(output_dir() / contract.MODEL_SUBDIR)
    )


def is_champion_pass() -> bool:
    """Whether an Evaluate step is scoring the champion instead of the new model."""
    return os.environ.get(contract.ENV_PASS) == contract.PASS_CHAMPION


def log_metrics(metrics: Mapping[str, float]) -> None:
    """Add to metrics.json; the last value of a name counts. Raises ValueError if not numbers."""
    path = output_dir() / contract.METRICS_NAME
    known = json.loads(path.read_text()) if path.is_file() else {}
    known.update({name: float(value) for name, value in metrics.items()})
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(known, indent=1, allow_nan=False) + "\n")
    temporary.replace(path)


def _folder(path: str) -> Path:
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
