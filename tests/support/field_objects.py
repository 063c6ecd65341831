"""Objects for the tests of every field, and what the schema alone does not tell of their values."""

from __future__ import annotations

from typing import Any

from field_schema import Json
from field_seeds import NAME, SMALL_RUN

from everloop import contract

# Properties that are tried in another than the first seed that has them, since there it may change.
IN_SEED = {
    ("Experiment", "algorithm.name"): "many trials",
    ("TrainingRun", "steps[].role"): "small",
    ("Experiment", "template.steps[].role"): "small template",
}
# What is inside of a pod's settings has the schemas of Kubernetes, not ours.
IN_PODS: dict[str, list[Any]] = {
    "envFrom[]": [{"secretRef": {"name": "another"}}],
    "volumes[]": [{"name": "spare", "emptyDir": {"medium": "Memory"}}],
    "volumeMounts[]": [{"mountPath": "/cache", "name": "cache", "readOnly": True}],
    "volumeMounts[].mountPath": ["/scratch"],
    "volumeMounts[].name": ["spare"],
    "resources.requests": [{"cpu": "100m", "memory": "64Mi"}],
    "resources.limits": [{"cpu": "3", "memory": "1Gi"}],
    "affinity": [{"nodeAffinity": {}}],
    "tolerations[]": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "securityContext": [{"runAsUser": 2000}],
}
# Values in the middle that the schema alone does not tell.
OTHERS: dict[tuple[str, str], list[Any]] = {
    ("Deployment", "versions"): [
        [
            {"modelVersion": "flights-v1", "weight": 50},
            {"modelVersion": "flights-v2", "weight": 30},
            {"modelVersion": "flights-v3", "weight": 20},
        ]
    ],
    ("Monitor", "retrain.signals[]"): ["OutputDrift", "Absent"],
    ("Monitor", "errors.rate"): ["0.07", "0", "0.999"],
    ("Deployment", "rollout.analysis.metrics[].max"): ["0.02", "0", "1"],
    ("Deployment", "rollout.analysis.metrics[].maxRegression"): ["0.2", "0", "1"],
    ("ModelVersion", "provenance.runSpec"): [SMALL_RUN],
    **{
        (kind, f"{pod}.{path}"): values
        for kind, pod in (
            ("TrainingRun", "pod"),
            ("Experiment", "template.pod"),
            ("Deployment", "runtime.pod"),
        )
        for path, values in IN_PODS.items()
    },
}
# What only a rule refuses: in form a value, and it means nothing. With the words that say so.
A_SHARE = "from 0 to 1: 5 % is 0.05"
AN_INDEX = "threshold is a population stability index above 0"
SENSELESS: dict[tuple[str, str], tuple[tuple[str, ...], str]] = {
    ("Monitor", "inputs.threshold"): (("0", "-5", "-1e199", "1e-999"), AN_INDEX),
    ("Monitor", "outputs.threshold"): (("0", "-5", "-1e199", "1e-999"), AN_INDEX),
    ("Monitor", "errors.rate"): (("-1", "1", "1e199"), "from 0 to below 1: 5 % is 0.05"),
    ("Deployment", "rollout.analysis.metrics[].max"): (("-0.1", "1.01", "1e199"), A_SHARE),
    ("Deployment", "rollout.analysis.metrics[].maxRegression"): (("-0.1", "1.01"), A_SHARE),
    ("Experiment", "parameters[].uniform.step"): (("0", "-1"), "step "),
    ("Experiment", "parameters[].uniform.min"): (("9", "1e199"), "min "),
    ("Experiment", "parameters[].uniform.max"): (("1", "-1e199"), "min "),
    ("Experiment", "parameters[].logUniform.min"): (("0", "-1", "1000"), "0 < min < max must hold"),
    ("Experiment", "parameters[].logUniform.max"): (("0", "1"), "0 < min < max must hold"),
}


def make(kind: str, spec: Json, namespace: str) -> Json:
    """An object whose parts agree: names with names, weights with weights."""
    name = NAME
    if kind == "ModelVersion":
        name = f"{spec.get('modelName')}-v{spec.get('version')}"
    elif kind == "Experiment" and isinstance(spec.get("template"), dict):
        spec = _one_model(spec)
    elif kind == "Deployment" and isinstance(spec.get("versions"), list):
        spec = _all_weights(spec)
    return {
        "apiVersion": contract.API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _one_model(spec: Json) -> Json:
    """An Experiment and its template: who differs from the seed is followed."""
    template = spec["template"]
    names = [spec.get("modelName"), template.get("modelName")]
    changed = next((name for name in names if name != NAME), NAME)
    if not (isinstance(changed, str) and all(isinstance(name, str) for name in names)):
        return spec
    return {**spec, "modelName": changed, "template": {**template, "modelName": changed}}


def _all_weights(spec: Json) -> Json:
    """Of two versions, the second gets what the first leaves."""
    versions = spec["versions"]
    if len(versions) != 2 or not all(
        isinstance(item, dict) and isinstance(item.get("weight"), int) for item in versions
    ):
        return spec
    first, second = versions
    if not 0 <= first["weight"] <= 100:
        return spec
    return {**spec, "versions": [first, {**second, "weight": 100 - first["weight"]}]}
