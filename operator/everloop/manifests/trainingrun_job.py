"""The Job of one attempt: fetch, then the user's steps in order, then package and report.

All but the last are init containers, since those run one after another and a failing one ends the
pod. Users' steps run under our shim; only the last container has the token for the report, and
ours share no /tmp with the steps: what these leave there would be read as HOME by ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everloop import contract
from everloop.api.trainingrun import Step, TrainingRun
from everloop.manifests.meta import meta
from everloop.manifests.pod import (
    PYTHON,
    TMP_DIR,
    merged_block,
    our_container,
    pod_spec,
    variable,
)
from everloop.manifests.trainingrun import config_name, run_labels
from everloop.settings import Settings

Dict = dict[str, Any]

TOKEN_SECONDS = 3600  # the kubelet renews it, so it only has to outlive one report
RUNNER_RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}}
RUNNER = (*PYTHON, "everloop_training")

_WORKSPACE = {"name": "workspace", "mountPath": contract.WORKSPACE}
_TOOLS = {"name": "tools", "mountPath": contract.TOOLS_DIR}
_CONFIG = {"name": "config", "mountPath": contract.CONFIG_DIR, "readOnly": True}
_TOKEN = {"name": "token", "mountPath": contract.TOKEN_DIR, "readOnly": True}
_RUNNER_TMP = {"name": "runner-tmp", "mountPath": TMP_DIR}
_SOURCE = {"name": "source", "mountPath": contract.SOURCE_CONFIG_DIR, "readOnly": True}


def job_name(run: str, attempt: int) -> str:
    return contract.child_name(run, str(attempt))


def report_url(settings: Settings, run: TrainingRun) -> str:
    path = contract.REPORT_PATH.format(namespace=run.metadata.namespace, run=run.metadata.name)
    host = f"{settings.service_name}.{settings.namespace}.svc"
    return f"https://{host}:{settings.report_port}{path}"


def build_job(
    settings: Settings,
    run: TrainingRun,
    attempt: int,
    *,
    compares: bool,
    resolution: str | None,
) -> Dict:
    """The Job of an attempt, from 1.

    `compares`: a champion was resolved, so the Evaluate step has a second pass. `resolution`: what
    an earlier attempt fetched (JSON), for attempts after the first.
    """
    labels = {**run_labels(run), contract.LABEL_ATTEMPT: str(attempt)}
    pod_labels, annotations, spec = _pod(settings, run, attempt, compares, resolution)
    template_labels = {
        **pod_labels,
        **meta("", "", contract.COMPONENT_JOB, labels=labels)["labels"],
    }
    template: Dict = {"metadata": {"labels": template_labels}, "spec": spec}
    if annotations:
        template["metadata"]["annotations"] = annotations
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta(
            job_name(run.metadata.name, attempt),
            run.metadata.namespace,
            contract.COMPONENT_JOB,
            labels=labels,
            annotations={contract.ANNOTATION_RESOLUTION: resolution} if resolution else None,
        ),
        "spec": {
            "suspend": False,
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": run.spec.active_deadline_seconds,
            "ttlSecondsAfterFinished": run.spec.pods_ttl_seconds_after_finished,
            "template": template,
        },
    }


def container_names(run: TrainingRun, compares: bool) -> list[str]:
    """The containers of an attempt in the order they run."""
    names = [contract.CONTAINER_FETCH]
    for step in run.spec.steps:
        names.append(step.name)
        if step.role == "Evaluate" and compares:
            names.append(step.name + contract.CHAMPION_PASS_SUFFIX)
    return [*names, contract.CONTAINER_PACKAGE]


def _pod(
    settings: Settings, run: TrainingRun, attempt: int, compares: bool, resolution: str | None
) -> tuple[dict[str, str], dict[str, str], Dict]:
    source = run.spec.source.config_map_ref if run.spec.source else None
    # The pod block's go to every container. No limit of ours: data and model are the user's.
    resources = merged_block(settings, run.spec.pod).get("resources") or RUNNER_RESOURCES
    env = [*_identity(run), variable(contract.ENV_ATTEMPT, str(attempt))]
    fetch_env = [*env, variable(contract.ENV_RESOLUTION, resolution)] if resolution else env
    fetch = our_container(
        settings,
        contract.CONTAINER_FETCH,
        settings.runtime_image,
        [*RUNNER, "fetch"],
        env=fetch_env,
        mounts=[_WORKSPACE, _TOOLS, _CONFIG, _RUNNER_TMP, *([_SOURCE] if source else [])],
        resources=resources,
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    package = our_container(
        settings,
        contract.CONTAINER_PACKAGE,
        settings.runtime_image,
        [*RUNNER, "package"],
        env=[
            *env,
            variable(contract.ENV_REPORT_URL, report_url(settings, run)),
            {
                "name": contract.ENV_POD_NAME,
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
            },
        ],
        mounts=[_WORKSPACE, _CONFIG, _TOKEN, _RUNNER_TMP],
        resources=resources,
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    steps: list[Dict] = []
    for step in run.spec.steps:
        steps.append(_candidate_step(settings, run, step))
        if step.role == "Evaluate" and compares:
            steps.append(_champion_step(settings, run, step))
    labels, annotations, spec = pod_spec(
        settings,
        run.spec.pod,
        containers=[package],
        init_containers=[fetch, *steps],
        volumes=_volumes(run, source.name if source else None),
    )
    return labels, annotations, {**spec, "restartPolicy": "Never"}


def _volumes(run: TrainingRun, source: str | None) -> list[Dict]:
    token = {
        "audience": contract.REPORT_AUDIENCE,
        "expirationSeconds": TOKEN_SECONDS,
        "path": contract.TOKEN_NAME,
    }
    volumes: list[Dict] = [
        {"name": "workspace", "emptyDir": {}},
        {"name": "tools", "emptyDir": {}},
        {"name": "runner-tmp", "emptyDir": {}},
        {"name": "config", "configMap": {"name": config_name(run.metadata.name)}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}},
    ]
    if source:
        volumes.append({"name": "source", "configMap": {"name": source}})
    return volumes


def _identity(run: TrainingRun) -> list[Dict]:
    return [
        variable(contract.ENV_RUN, run.metadata.name),
        variable(contract.ENV_NAMESPACE, run.metadata.namespace),
        variable(contract.ENV_MODEL_NAME, run.spec.model_name),
    ]


def _candidate_step(settings: Settings, run: TrainingRun, step: Step) -> Dict:
    env = {contract.ENV_OUTPUT_DIR: contract.OUTPUT_DIR}
    if step.role == "Evaluate":
        env[contract.ENV_MODEL_DIR] = f"{contract.OUTPUT_DIR}/{contract.MODEL_SUBDIR}"
        env[contract.ENV_PASS] = contract.PASS_CANDIDATE
    return _step(settings, run, step, step.name, env, tolerate=False)


def _champion_step(settings: Settings, run: TrainingRun, step: Step) -> Dict:
    """The second pass: the champion on the same hold-out; its failure is a result, not an end."""
    env = {
        contract.ENV_OUTPUT_DIR: contract.CHAMPION_DIR,
        contract.ENV_MODEL_DIR: f"{contract.CHAMPION_DIR}/{contract.MODEL_SUBDIR}",
        contract.ENV_PASS: contract.PASS_CHAMPION,
    }
    name = step.name + contract.CHAMPION_PASS_SUFFIX
    return _step(settings, run, step, name, env, tolerate=True)


def _step(
    settings: Settings,
    run: TrainingRun,
    step: Step,
    name: str,
    env: Mapping[str, str],
    *,
    tolerate: bool,
) -> Dict:
    ours = [
        *_identity(run),
        variable(contract.ENV_SEED, str(run.spec.seed)),
        variable(contract.ENV_PARAMS_FILE, contract.PARAMS_FILE),
        variable(contract.ENV_SOURCE_DIR, contract.SOURCE_DIR),
        variable(contract.ENV_DATA_DIR, contract.DATA_DIR),
        *(variable(key, value) for key, value in env.items()),
    ]
    names = {item["name"] for item in ours}
    theirs = [item for item in step.env or [] if item["name"] not in names]
    state = f"{contract.STATE_DIR}/steps/{name}.json"
    shim = [contract.SHIM, "--name", name, "--state", state, *(["--tolerate"] if tolerate else [])]
    container: Dict = {
        "name": name,
        "image": step.image or settings.runtime_image,
        "command": [*shim, "--", *step.command, *(step.args or [])],
        "workingDir": contract.SOURCE_DIR,
        "env": [*ours, *theirs],
        "volumeMounts": [_WORKSPACE, {**_TOOLS, "readOnly": True}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if step.image is None:
        container["imagePullPolicy"] = settings.image_pull_policy
    if step.resources is not None:
        container["resources"] = step.resources.to_dict()
    return container
