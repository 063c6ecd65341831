"""Experiment: what it observes. The search itself is plans/experiment.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from everloop import contract
from everloop.api.experiment import Experiment
from everloop.api.report import from_config_map
from everloop.api.trainingrun import TrainingRun
from everloop.cluster import objects
from everloop.handlers.kind import Kind, Object, Ref, View
from everloop.handlers.owned import own
from everloop.handlers.resources import CONFIG_MAPS, EXPERIMENTS, MODEL_VERSIONS, TRAINING_RUNS
from everloop.handlers.version_reads import taken_version_names, version_made_from
from everloop.manifests.experiment import trial_name, trial_number
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


async def observe(parent: Object, view: View, outside: Any) -> Observed:
    """The trials with their reports, and what the next version's number depends on."""
    status = parent.get("status") or {}
    seen = [_trial(parent, run, view) for run in view.children("TrainingRun", parent)]
    trials = {trial.number: trial for trial in seen if trial is not None}
    if not status.get("completionTime"):
        unseen = set(range(status.get("created") or 0)) - trials.keys()
        trials |= await _read(parent, sorted(unseen), view, outside)
    return Observed(
        experiment=Experiment.model_validate(parent),
        raw_status=status,
        trials=tuple(trials[number] for number in sorted(trials)),
        version_names=taken_version_names(parent["metadata"]["namespace"], view),
    )


async def _read(
    parent: Object, numbers: Iterable[int], view: View, outside: Any
) -> dict[int, ObservedTrial]:
    """Trials that status knows and the cache does not: deleted, or too new for it.

    A search whose last trial passed for deleted would end, and register the best of the others.
    """
    meta = parent["metadata"]
    found = {}
    for number in numbers:
        name = trial_name(meta["name"], number)
        run = await outside.kube.get(contract.API_VERSION, "TrainingRun", meta["namespace"], name)
        run = own(parent, run)
        trial = _trial(parent, run, view) if run is not None else None
        if trial is not None:
            found[number] = trial
    return found


def _trial(parent: Object, run: Object, view: View) -> ObservedTrial | None:
    """A trial, known by its name, which unlike a label nobody can change.

    A copy of a trial bears its owner, too: of a number that status does not know yet, only what we
    made is a trial.
    """
    name, namespace = run["metadata"]["name"], run["metadata"]["namespace"]
    number = trial_number(parent["metadata"]["name"], name)
    known = (parent.get("status") or {}).get("created") or 0
    if number is None or not (number < known or objects.made_by_us(run)):
        return None
    report = view.get("ConfigMap", namespace, report_name(name))
    return ObservedTrial(
        number=number,
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
