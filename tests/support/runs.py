"""Builders of a TrainingRun's objects as the API server would show them."""

from __future__ import annotations

import json
from typing import Any

from everloop import contract
from everloop.api.trainingrun import TrainingRun
from everloop.manifests.trainingrun import build_config, build_report
from everloop.manifests.trainingrun_job import build_job
from everloop.settings import Settings

Dict = dict[str, Any]

NAMESPACE = "ml"
NOW = "2026-01-01T12:00:00Z"
CREATED = "2026-01-01T11:00:00Z"
STARTED = "2026-01-01T11:59:30Z"
DIGEST = "sha256:" + "ab" * 32
HOLD_OUT = {
    "digest": "sha256:" + "cd" * 32,
    "rows": 900,
    "timeSpan": {"start": "2013-02-20T00:00:00Z", "end": "2013-02-28T23:00:00Z"},
}
CHAMPION = {
    "deployment": "flights",
    "modelVersion": "flights-v1",
    "digest": "sha256:" + "11" * 32,
    "uri": "s3://models/flights/sha256-11",
    "format": "sklearn",
    "trainingCutoff": "2013-02-10T00:00:00Z",
}
VERSUS_GATE = {
    "metric": "auc",
    "versus": "Champion",
    "deployment": "flights",
    "maxRegression": "0.01",
    "direction": "Maximize",
}


def make_run(name: str = "flights-1", *, status: Dict | None = None, **spec: Any) -> Dict:
    """A TrainingRun of one step; fields of `spec` replace."""
    base: Dict = {
        "modelName": "flights",
        "steps": [{"name": "train", "command": ["python", "train.py"]}],
        "output": {"uri": "s3://models/flights", "format": "sklearn"},
        "seed": 7,
        "suspend": False,
        "startDeadlineSeconds": 600,
        "activeDeadlineSeconds": 86400,
        "retries": 0,
        "podsTTLSecondsAfterFinished": 86400,
    }
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "TrainingRun",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "generation": 1,
            "creationTimestamp": CREATED,
        },
        "spec": {**base, **spec},
        "status": status or {"observedGeneration": -1},
    }


def owned(child: Dict, owner: Dict, **metadata: Any) -> Dict:
    """The object with a uid, a time and its controller, as after its creation."""
    meta = {
        **child["metadata"],
        "uid": f"uid-{child['metadata']['name']}",
        "creationTimestamp": CREATED,
        "ownerReferences": [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
            }
        ],
        **metadata,
    }
    return {**child, "metadata": meta}


def make_config(run: Dict, champion: Dict | None = None, problem: str = "") -> Dict:
    typed = TrainingRun.model_validate(run)
    return owned(build_config(Settings(), typed, champion, problem, "CA\n"), run)


def make_job(run: Dict, attempt: int = 1, *, status: Dict | None = None, **spec: Any) -> Dict:
    """A Job of the run, started at STARTED."""
    typed = TrainingRun.model_validate(run)
    job = owned(
        build_job(Settings(), typed, attempt, compares=False, resolution=None),
        run,
        creationTimestamp=STARTED,
    )
    job["spec"] = {**job["spec"], **spec}
    job["status"] = {"startTime": STARTED, **(status or {})}
    return job


def job_condition(name: str, reason: str = "") -> Dict:
    """`status` of a Job with one condition."""
    return {"conditions": [{"type": name, "status": "True", "reason": reason}]}


def make_pod(job: Dict, *states: Dict, phase: str = "Pending", **status: Any) -> Dict:
    """The Job's pod; `states` are the states of its containers in order, the rest are waiting."""
    template = job["spec"]["template"]["spec"]
    names = [item["name"] for item in (*template["initContainers"], *template["containers"])]
    pending = {"waiting": {"reason": "PodInitializing"}}
    padded = [*states, *[pending] * (len(names) - len(states))]
    statuses = [
        {
            "name": name,
            "state": state,
            "imageID": "" if "waiting" in state else f"registry/{name}@{DIGEST}",
        }
        for name, state in zip(names, padded, strict=True)
    ]
    count = len(template["initContainers"])
    pod = owned(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{job['metadata']['name']}-x7k2p",
                "namespace": NAMESPACE,
                "labels": {"batch.kubernetes.io/job-name": job["metadata"]["name"]},
            },
            "spec": {},
        },
        job,
        creationTimestamp=STARTED,
    )
    pod["status"] = {
        "phase": phase,
        "initContainerStatuses": statuses[:count],
        "containerStatuses": statuses[count:],
        **status,
    }
    return pod


def running() -> Dict:
    return {"running": {"startedAt": STARTED}}


def waiting(reason: str, message: str = "") -> Dict:
    return {"waiting": {"reason": reason, "message": message}}


def done(message: str = "", exit_code: int = 0, reason: str = "Completed") -> Dict:
    """A terminated container."""
    return {
        "terminated": {
            "exitCode": exit_code,
            "reason": reason,
            "message": message,
            "startedAt": STARTED,
            "finishedAt": STARTED,
        }
    }


def shim_failed(
    exit_code: int, lines: str, reason: str = "Error", signal: int | None = None
) -> Dict:
    """A container that the shim ended, with its termination message."""
    message = {"reason": reason, "exitCode": exit_code, "signal": signal, "lastLines": lines}
    return done(json.dumps(message), exit_code, "Error")


def make_report(run: Dict, **fields: Any) -> Dict:
    """The content of a succeeded report."""
    base: Dict = {
        "schema": 1,
        "namespace": NAMESPACE,
        "run": run["metadata"]["name"],
        "uid": run["metadata"]["uid"],
        "attempt": 1,
        "outcome": "Succeeded",
        "startedAt": STARTED,
        "finishedAt": "2026-01-01T11:59:58Z",
        "resolved": {
            "data": [{"name": "train", "uri": "s3://data/", "digest": DIGEST, "files": 2}],
            "parameters": {"k": "0.1"},
            "seed": 7,
            "trainingCutoff": "2013-02-19T23:00:00Z",
            "runner": "everloop 0.1.0",
        },
        "artifact": {
            "uri": "s3://models/flights/sha256-ab",
            "digest": DIGEST,
            "format": "sklearn",
            "sizeBytes": 12345,
        },
        "profile": {"uri": "s3://models/flights/sha256-ab/profile-1.json", "digest": DIGEST},
        "metrics": {"auc": "0.70"},
        "holdOut": HOLD_OUT,
    }
    return {**base, **fields}


def make_report_map(
    run: Dict, report: Dict | None = None, *, registered: str | None = None
) -> Dict:
    """The ConfigMap `<run>-report`."""
    typed = TrainingRun.model_validate(run)
    text = json.dumps(report or make_report(run), indent=1)
    found = owned(build_report(typed, text, {"train": f"registry/train@{DIGEST}"}), run)
    if registered:
        found["metadata"]["annotations"] = {contract.ANNOTATION_REGISTERED: registered}
    return found


def make_version(
    number: int = 1, *, run_uid: str = "", model: str = "flights", **spec: Any
) -> Dict:
    """A ModelVersion; `run_uid` says which run made it."""
    provenance = {"provenance": {"run": "some-run", "runUid": run_uid}} if run_uid else {}
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": f"{model}-v{number}",
            "namespace": NAMESPACE,
            "uid": f"uid-{model}-v{number}",
            "generation": 1,
        },
        "spec": {
            "modelName": model,
            "version": number,
            "artifact": {"uri": f"s3://models/{model}/{number}", "digest": DIGEST},
            **provenance,
            **spec,
        },
    }
