"""One valid object of each kind, as small as users write them, for tests on a real API server."""

from __future__ import annotations

from typing import Any

from everloop import contract
from everloop.api.deployment import Deployment
from everloop.api.modelversion import ModelVersion
from everloop.manifests.server import Served
from everloop.plans.history import Record, build_record

Dict = dict[str, Any]
STEPS: list[Dict] = [{"name": "train", "command": ["python", "train.py"]}]
OUTPUT = {"uri": "s3://models/sample"}


def make_training_run(name: str, namespace: str, **spec: Any) -> Dict:
    """A run of one step. Without a node its pod is never made."""
    base = {"modelName": "sample", "steps": STEPS, "output": OUTPUT, "seed": 1}
    return _object("TrainingRun", name, namespace, base | spec)


def make_experiment(name: str, namespace: str, **spec: Any) -> Dict:
    """A search of two trials, one after the other."""
    model = spec.get("modelName", "sample")
    base = {
        "modelName": model,
        "objective": {"metric": "auc", "direction": "Maximize"},
        "parameters": [{"name": "k", "uniform": {"min": "0", "max": "1"}}],
        "algorithm": {"name": "Random", "seed": 1},
        "trials": 2,
        "parallelTrials": 1,
        "template": {"modelName": model, "steps": STEPS, "output": OUTPUT, "seed": 1},
    }
    return _object("Experiment", name, namespace, base | spec)


def make_model_version(model: str, number: int, namespace: str, **spec: Any) -> Dict:
    """A version that passed its gates; nobody checks here that its bytes exist."""
    artifact = {"uri": f"s3://models/{model}/{number}", "digest": f"sha256:{number:064x}"}
    base = {"modelName": model, "version": number, "artifact": artifact}
    return _object("ModelVersion", f"{model}-v{number}", namespace, base | spec)


def make_deployment(name: str, namespace: str, **spec: Any) -> Dict:
    """Follows the model `sample` in one step."""
    base = {"modelName": "sample", "rollout": {"steps": [{"weight": 100}]}}
    return _object("Deployment", name, namespace, base | spec)


def make_promotion(deployment: Dict, version: Dict, message: str = "made by a test") -> Dict:
    """The record by which a version is champion; without a node none ever gets ready to be it."""
    served = Served.of(ModelVersion.model_validate(version))
    record = Record("Promotion", 1, served, "FirstVersion", message, "2026-01-01T00:00:00Z")
    return build_record(Deployment.model_validate(deployment), record).manifest


def make_monitor(name: str, namespace: str, deployment: str, **spec: Any) -> Dict:
    """Watches the error rate, and asks for nothing."""
    base = {"deployment": deployment, "errors": {"rate": "0.05"}}
    return _object("Monitor", name, namespace, base | spec)


def _object(kind: str, name: str, namespace: str, spec: Dict) -> Dict:
    return {
        "apiVersion": contract.API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
