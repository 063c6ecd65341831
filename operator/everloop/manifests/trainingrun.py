"""ConfigMaps of a TrainingRun: what its pods are told, and what remains of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from everloop import __version__, contract
from everloop.api.modelversion import ModelVersion
from everloop.api.trainingrun import Gate, Step, TrainingRun
from everloop.manifests.meta import meta
from everloop.settings import Settings

Dict = dict[str, Any]

IMAGES_KEY = "images.json"  # in `<run>-report`: step → image by digest, as its pod ran them


def config_name(run: str) -> str:
    return contract.child_name(run, "config")


def report_name(run: str) -> str:
    return contract.child_name(run, "report")


def run_labels(run: TrainingRun) -> dict[str, str]:
    """Labels of everything that belongs to a run."""
    return {
        contract.LABEL_RUN: run.metadata.name,
        contract.LABEL_MODEL: run.spec.model_name,
    }


def build_config(
    settings: Settings, run: TrainingRun, champion: Dict | None, problem: str, ca: str
) -> Dict:
    """`<run>-config`: what our containers read; immutable, made once before the first attempt."""
    run_config: Dict = {
        "schema": contract.REPORT_SCHEMA,
        "namespace": run.metadata.namespace,
        "run": run.metadata.name,
        "uid": run.metadata.uid,
        "modelName": run.spec.model_name,
        "source": _source(run),
        "data": [
            {"name": item.name, "uri": item.uri, "digest": item.digest} for item in run.spec.data
        ],
        "newData": run.spec.new_data.to_dict() if run.spec.new_data else None,
        "parameters": run.spec.parameters,
        "seed": run.spec.seed,
        "steps": [_step(settings, step) for step in run.spec.steps],
        "output": run.spec.output.to_dict(),
        "champion": champion,
        "versus": [
            {"metric": gate.metric, "direction": gate.direction} for gate in champion_gates(run)
        ],
        "runner": f"everloop {__version__} ({settings.runtime_image})",
    }
    if problem:
        run_config["championProblem"] = problem
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta(
            config_name(run.metadata.name),
            run.metadata.namespace,
            contract.COMPONENT_RUN_CONFIG,
            labels=run_labels(run),
        ),
        "immutable": True,
        "data": {
            contract.RUN_CONFIG_NAME: json.dumps(run_config, indent=1) + "\n",
            contract.CA_NAME: ca,
        },
    }


def build_champion(deployment: str, version: ModelVersion) -> Dict:
    """The champion as run.json names it: by digest, so that what is scored is what serves."""
    resolved = version.spec.provenance.resolved if version.spec.provenance else None
    return {
        "deployment": deployment,
        "modelVersion": version.metadata.name,
        "digest": version.spec.artifact.digest,
        "uri": version.spec.artifact.uri,
        "format": version.spec.artifact.format,
        "trainingCutoff": resolved.training_cutoff if resolved else None,
    }


def build_report(run: TrainingRun, report: str, images: Mapping[str, str]) -> Dict:
    """`<run>-report`: the report verbatim, immutable; status and versions are computed from it."""
    data = {contract.REPORT_KEY: report}
    if images:
        data[IMAGES_KEY] = json.dumps(dict(images), sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta(
            report_name(run.metadata.name),
            run.metadata.namespace,
            contract.COMPONENT_REPORT,
            labels=run_labels(run),
        ),
        "immutable": True,
        "data": data,
    }


def champion_gates(run: TrainingRun) -> list[Gate]:
    """The gates that compare with a champion."""
    return [gate for gate in run.spec.gates if gate.versus is not None]


def _source(run: TrainingRun) -> Dict | None:
    source = run.spec.source
    if source is None:
        return None
    if source.git is not None:
        return {"git": source.git.to_dict()}
    return {"configMap": source.config_map_ref.name} if source.config_map_ref else None


def _step(settings: Settings, step: Step) -> Dict:
    return {"name": step.name, "image": step.image or settings.runtime_image, "role": step.role}
