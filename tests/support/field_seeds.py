"""Rich objects for the tests of every field: together they have every property of every CRD.

A kind has several where fields exclude each other; a property is tried in the first that has it.
Values differ from the defaults, so that taking a property away is a change, too.
"""

from __future__ import annotations

from field_schema import Json

NAME = "flights"
DIGEST = "sha256:" + "a" * 64
SPAN = {"start": "2013-02-20T00:00:00Z", "end": "2013-02-28T23:00:00Z"}

POD: Json = {
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "MODE", "value": "fast"}],
    "envFrom": [{"secretRef": {"name": "store"}}],
    "volumes": [{"name": "spare", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}],
    "volumeMounts": [{"mountPath": "/cache", "name": "cache"}],
    "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}},
    "nodeSelector": {"disk": "ssd"},
    "affinity": {"podAffinity": {}},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "labels": {"team": "air"},
    "annotations": {"note": "kept"},
    "serviceAccountName": "trainer",
    "priorityClassName": "high",
    "securityContext": {"runAsUser": 1000},
}
RUN: Json = {
    "modelName": NAME,
    "source": {"git": {"url": "https://git.example/f", "revision": "main", "path": "training"}},
    "data": [{"name": "train", "uri": "s3://flights/months/", "digest": DIGEST}],
    "newData": {"minRows": 100, "arrivedAfter": "2026-01-01T00:00:00Z"},
    "parameters": {"learning_rate": "0.1"},
    "seed": 7,
    "steps": [
        {
            "name": "prepare",
            "image": "registry/prepare:1",
            "command": ["python", "prepare.py"],
            "args": ["--fast"],
            "env": [{"name": "PART", "value": "1"}],
            "resources": {"requests": {"cpu": "200m"}, "limits": {"memory": "2Gi"}},
        },
        {"name": "train", "command": ["python", "train.py"]},
        {"name": "evaluate", "role": "Evaluate", "command": ["python", "evaluate.py"]},
    ],
    "output": {"uri": "s3://models/flights", "format": "sklearn"},
    "gates": [
        {"metric": "auc", "min": "0.60", "max": "0.95"},
        {
            "metric": "auc",
            "versus": "Champion",
            "deployment": NAME,
            "maxRegression": "0.05",
            "direction": "Minimize",
        },
    ],
    "suspend": False,
    "startDeadlineSeconds": 500,
    "activeDeadlineSeconds": 7200,
    "retries": 1,
    "podsTTLSecondsAfterFinished": 600,
    "pod": POD,
}
SMALL_RUN: Json = {
    "modelName": NAME,
    "source": {"configMapRef": {"name": "code"}},
    "steps": [{"name": "train", "role": "Evaluate", "command": ["python", "train.py"]}],
    "output": {"uri": "s3://models/flights"},
}
EXPERIMENT: Json = {
    "modelName": NAME,
    "objective": {"metric": "auc", "direction": "Minimize", "goal": "0.35"},
    "parameters": [
        {"name": "depth", "uniform": {"min": "1", "max": "9", "type": "Int", "step": "2"}},
        {"name": "rate", "logUniform": {"min": "1", "max": "1000", "type": "Int"}},
        {"name": "loss", "categorical": ["log_loss", "exponential"]},
    ],
    "algorithm": {"name": "TPE", "seed": 42},
    "trials": 18,
    "parallelTrials": 2,
    "maxFailedTrials": 4,
    "suspend": False,
    "template": {**SMALL_RUN, "gates": [{"metric": "auc", "min": "0.1"}]},
    "onComplete": {"register": "Best"},
}
DEPLOYMENT: Json = {
    "modelName": NAME,
    "runtime": {"image": "registry/server:1", "replicas": 2, "pod": POD},
    "rollout": {
        "steps": [
            {"weight": 10},
            {"pause": {"duration": "5m"}},
            {"analysis": {}},
            {"weight": 50},
            {"analysis": {}},
        ],
        "analysis": {
            "interval": "2m",
            "maxDuration": "12h",
            "minSamples": 300,
            "onInconclusive": "Reject",
            "metrics": [
                {
                    "name": "error-rate",
                    "versus": "Champion",
                    "maxRegression": "0.02",
                    "max": "0.10",
                }
            ],
        },
        "readyDeadline": "8m",
    },
    "suspend": False,
}
TENSOR: Json = {"name": "dep_hour", "datatype": "FP64", "shape": [-1, 1]}
SEEDS: dict[str, dict[str, Json]] = {
    "TrainingRun": {"whole": RUN, "small": SMALL_RUN},
    "Experiment": {
        "small template": EXPERIMENT,
        "whole template": {
            **EXPERIMENT,
            "parameters": [{"name": "depth", "uniform": {"min": "0", "max": "1"}}],
            "trials": 2,
            "template": RUN,
        },
        "many trials": {
            **EXPERIMENT,
            "objective": {"metric": "auc"},
            "trials": 24,
            "parallelTrials": 12,
        },
    },
    "ModelVersion": {
        "whole": {
            "modelName": NAME,
            "version": 3,
            "artifact": {
                "uri": "s3://models/flights/x",
                "digest": DIGEST,
                "format": "sklearn",
                "sizeBytes": 1234,
            },
            "signature": {"inputs": [TENSOR], "outputs": [{**TENSOR, "name": "predict"}]},
            "profile": {"uri": "s3://models/flights/x/profile.json", "digest": DIGEST},
            "provenance": {
                "run": "flights-3",
                "runUid": "uid-flights-3",
                "trigger": {"kind": "Person"},
                "parent": "flights-v2",
                "runSpec": RUN,
                "resolved": {
                    "commit": "c0ffee",
                    "sourceDigest": DIGEST,
                    "images": {"train": "registry/train@" + DIGEST},
                    "data": [
                        {
                            "name": "train",
                            "uri": "s3://flights/months/",
                            "digest": DIGEST,
                            "files": 2,
                            "rows": 1000,
                            "timeSpan": SPAN,
                        }
                    ],
                    "parameters": {"learning_rate": "0.1"},
                    "seed": 7,
                    "trainingCutoff": "2013-02-19T23:00:00Z",
                    "runner": "everloop 0.1.0",
                },
            },
            "evaluation": {
                "metrics": {"auc": "0.7"},
                "holdOut": {"digest": DIGEST, "rows": 900, "timeSpan": SPAN},
                "versus": {
                    "champion": {
                        "deployment": NAME,
                        "modelVersion": "flights-v2",
                        "digest": DIGEST,
                    },
                    "metrics": {"auc": "0.69"},
                    "intervals": {"auc": {"difference": "0.01", "low": "0.001", "high": "0.02"}},
                },
                "gates": [
                    {
                        "metric": "auc",
                        "kind": "Champion",
                        "verdict": "Inconclusive",
                        "value": "0.01",
                        "bound": "0.005",
                        "low": "0.001",
                        "high": "0.02",
                        "reason": "IntervalSpansBound",
                        "message": "0.01 between 0.001 and 0.02",
                    }
                ],
            },
            "card": {
                "intendedUse": "delays",
                "limitations": "one airport",
                "owner": "air",
                "licence": "MIT",
            },
        },
    },
    "Deployment": {
        "rollout": DEPLOYMENT,
        "versions": {
            "modelName": NAME,
            "runtime": {"resources": {"requests": {"cpu": "300m"}, "limits": {"memory": "3Gi"}}},
            "versions": [
                {"modelVersion": "flights-v1", "weight": 80},
                {"modelVersion": "flights-v2", "weight": 20},
            ],
        },
    },
    "Monitor": {
        "whole": {
            "deployment": NAME,
            "window": "6h",
            "minSamples": 150,
            "inputs": {"features": ["dewp", "temp"], "method": "PSI", "threshold": "0.2"},
            "outputs": {"method": "PSI", "threshold": "0.3"},
            "errors": {"rate": "0.05", "window": "10m", "for": "1m"},
            "absence": {"for": "2m"},
            "retrain": {
                "signals": ["InputDrift", "ErrorsHigh"],
                "for": "5m",
                "cooldown": "2h",
                "newData": {"minRows": 50, "since": "AlertStart"},
                "overrides": {
                    "parameters": {"max_iter": "50"},
                    "gates": RUN["gates"],
                    "activeDeadlineSeconds": 7200,
                },
            },
            "suspend": False,
        }
    },
}
