"""What a user applies: namespace, code, a run, a Deployment, a Monitor, and clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Object = dict[str, Any]
HERE = Path(__file__).parent

NAME = "soak"  # of the namespace, the model, the Deployment, the Monitor and the bucket
OTHER = "soak-other"  # the model of runs by hand, which nothing serves
HISTORY = "soak-history"  # a namespace of others, with nothing in it that is still at work
RATE = 20  # requests a second
API = "everloop.dev/v1alpha1"
PODS_TTL = 20  # seconds; so that a cycle ends with no Job and no pod of a run
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
ENV_FROM = [{"secretRef": {"name": "s3-credentials"}}]
RESOURCES = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}


def surroundings(keys: dict[str, str]) -> list[Object]:
    """The namespace, the store's credentials, and the training code."""
    files = {path.name: path.read_text() for path in sorted((HERE / "training").glob("*.py"))}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": RESTRICTED}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3-credentials", "namespace": NAME},
            "stringData": {
                **keys,
                "AWS_ENDPOINT_URL": "http://s3.storage.svc:8333",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        },
        config_map("soak-training", files),
        config_map("soak-traffic", {"traffic.py": (HERE / "traffic.py").read_text()}),
    ]


def config_map(name: str, data: dict[str, str]) -> Object:
    return _object("v1", "ConfigMap", name, data=data)


def history(like: Object, count: int) -> list[Object]:
    """The namespace of others, with so many versions like this one, of a model of their own."""
    versions = [
        {
            "apiVersion": API,
            "kind": "ModelVersion",
            "metadata": {
                "name": f"gone-v{number}",
                "namespace": HISTORY,
                "labels": like["metadata"]["labels"] | {"everloop.dev/model": "gone"},
            },
            "spec": like["spec"] | {"modelName": "gone", "version": number},
        }
        for number in range(1, count + 1)
    ]
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HISTORY}}, *versions]


def run(name: str, model: str) -> Object:
    """The first run, and what the Monitor will repeat; or one by hand, of another model."""
    gates: list[Object] = [{"metric": "val_accuracy", "min": "0.8"}]
    if model == NAME:
        gates.append(
            {
                "metric": "val_accuracy",
                "versus": "Champion",
                "deployment": NAME,
                "maxRegression": "0.05",
            }
        )
    spec = {
        "modelName": model,
        "source": {"configMapRef": {"name": "soak-training"}},
        "data": [{"name": "days", "uri": f"s3://{NAME}/days/"}],
        "steps": [
            {"name": "train", "command": ["python", "train.py"]},
            {"name": "evaluate", "role": "Evaluate", "command": ["python", "evaluate.py"]},
        ],
        "output": {"uri": f"s3://{NAME}/models", "format": "sklearn"},
        "gates": gates,
        "podsTTLSecondsAfterFinished": PODS_TTL,
        "pod": {"envFrom": ENV_FROM, "resources": RESOURCES, **_one_thread()},
    }
    return _object(API, "TrainingRun", name, spec=spec)


def deployment() -> Object:
    """Three weights, each held until the analysis passes."""
    steps: list[Object] = []
    for weight in (20, 50, 100):
        steps += [{"weight": weight}, {"analysis": {}}]
    rollout = {
        "steps": steps,
        "analysis": {  # durations are divided by the speed-up
            "interval": "12h",
            "maxDuration": "60d",
            "minSamples": 30,
            "onInconclusive": "Hold",
            "metrics": [{"name": "error-rate", "versus": "Champion", "maxRegression": "0.1"}],
        },
        "readyDeadline": "60d",
    }
    pod = {"envFrom": ENV_FROM, **_one_thread()}
    spec = {"modelName": NAME, "runtime": {"pod": pod}, "rollout": rollout}
    return _object(API, "Deployment", NAME, spec=spec)


def monitor(window: str) -> Object:
    """Inputs, outputs and errors are watched; drift of the inputs trains again."""
    spec = {
        "deployment": NAME,
        "window": window,
        "minSamples": 60,
        "inputs": {"features": ["*"], "threshold": "0.5"},
        "outputs": {"threshold": "0.5"},
        "errors": {"rate": "0.1"},
        "retrain": {
            "signals": ["InputDrift"],
            "cooldown": "24h",
            "newData": {"minRows": 1000, "since": "ChampionTrained"},
        },
    }
    return _object(API, "Monitor", NAME, spec=spec)


def traffic(image: str, mean: float) -> Object:
    """The clients."""
    env = {"URL": f"http://{NAME}/v2/models/{NAME}/infer", "RATE": str(RATE)}
    env["FIRST_MEAN"] = str(mean)
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "traffic",
                "image": image,
                "command": ["python", "/code/traffic.py"],
                "env": [{"name": name, "value": value} for name, value in env.items()],
                "volumeMounts": [{"name": "code", "mountPath": "/code"}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
        "volumes": [{"name": "code", "configMap": {"name": "soak-traffic"}}],
    }
    return _object("v1", "Pod", "traffic", spec=spec)


def _one_thread() -> Object:
    return {"env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}


def _object(api_version: str, kind: str, name: str, **fields: Any) -> Object:
    metadata = {"name": name, "namespace": NAME}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}
