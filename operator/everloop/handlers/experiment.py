"""Experiment: what it observes. The search itself is plans/experiment.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from everloop.api.experiment import Experiment
from everloop.api.report import from_config_map
from everloop.api.trainingrun import TrainingRun
from everloop.handlers.kind import Kind, Object, Ref, View
from everloop.handlers.resources import CONFIG_MAPS, EXPERIMENTS, MODEL_VERSIONS, TRAINING_RUNS
from everloop.handlers.version_reads import taken_version_names, version_made_from
from everloop.manifests.trainingrun import config_name, report_name
from everloop.plans.experiment import Observed, ObservedTrial, plan


def references(experiment: Object) -> Iterable[Ref]:
    """New versions of the model, so that a taken number is seen before the next try.

    None once it has ended: each version that a model ever gets would wake all its searches, and
    each of them reads all its trials.
    """
    if (experiment.get("status") or {}).get("completionTime"):
        return
    namespace = experiment["metadata"]["namespace"]
    yield Ref("ModelVersion", namespace, model=experiment["spec"]["modelName"])


async def observe(parent: Object, view: View, outside: Any) -> Observed:  # noqa: ARG001 (protocol)
    """The trials with their reports, and what the next version's number depends on."""
    trials = (_trial(parent, run, view) for run in view.children("TrainingRun", parent))
    return Observed(
        experiment=Experiment.model_validate(parent),
        raw_status=parent.get("status") or {},
        trials=tuple(trial for trial in trials if trial is not None),
        version_names=taken_version_names(parent["metadata"]["namespace"], view),
    )


def _trial(parent: Object, run: Object, view: View) -> ObservedTrial | None:
    """A trial, known by its name, which unlike a label nobody can change."""
    name, namespace = run["metadata"]["name"], run["metadata"]["namespace"]
    number = name.removeprefix(f"{parent['metadata']['name']}-")
    if not number.isdigit():
        return None
    report = view.get("ConfigMap", namespace, report_name(name))
    return ObservedTrial(
        number=int(number),
        raw_run=run,
        raw_report=report,
        raw_config=view.get("ConfigMap", namespace, config_name(name)),
        raw_version=version_made_from(run, view),
        run=TrainingRun.model_validate(run),
        report=from_config_map(report) if report else None,
    )


KIND = Kind(
    resource=EXPERIMENTS,
    children=(TRAINING_RUNS, CONFIG_MAPS),
    references=references,
    observe=observe,
    plan=plan,
    watched_for=(MODEL_VERSIONS,),
)
