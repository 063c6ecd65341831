"""Experiment: what it observes. The search itself is plans/experiment.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from everloop import contract
from everloop.api.experiment import Experiment
from everloop.api.report import from_config_map
from everloop.api.trainingrun import TrainingRun
from everloop.cluster import objects
from everloop.handlers.kind import Kind, Object, Ref, View
from everloop.handlers.owned import own
from everloop.handlers.resources import CONFIG_MAPS, EXPERIMENTS, MODEL_VERSIONS, TRAINING_RUNS
from everloop.handlers.version_reads import (
    is_made_from,
    taken_version_names,
    unseen_version,
    version_made_from,
)
from everloop.manifests.experiment import trial_name, trial_number
from everloop.manifests.trainingrun import config_name, report_name
from everloop.plans.experiment import Observed, ObservedTrial, plan
from everloop.plans.registration import registered_version


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
    unseen = () if status.get("completionTime") else await _unseen_trials(parent, view, outside)
    version = await _unseen_version(parent, [*_runs(parent, view, unseen)], view, outside)
    # Nothing is awaited from here on: all that is read of the cache is of one moment.
    found = (_trial(parent, run, view, version) for run in _runs(parent, view, unseen))
    trials = {trial.number: trial for trial in found if trial is not None}
    return Observed(
        experiment=Experiment.model_validate(parent),
        raw_status=status,
        trials=tuple(trials[number] for number in sorted(trials)),
        version_names=taken_version_names(parent["metadata"]["namespace"], view),
    )


def _runs(parent: Object, view: View, unseen: Iterable[Object]) -> Iterable[Object]:
    """Those in the cache, and of the others those that it still has not."""
    seen = view.children("TrainingRun", parent)
    names = {run["metadata"]["name"] for run in seen}
    return (*seen, *(run for run in unseen if run["metadata"]["name"] not in names))


async def _unseen_trials(parent: Object, view: View, outside: Any) -> Sequence[Object]:
    """Trials that status knows and the cache does not: deleted, or too new for it.

    A search whose last trial passed for deleted would end, and register the best of the others.
    """
    meta = parent["metadata"]
    seen = {run["metadata"]["name"] for run in view.children("TrainingRun", parent)}
    numbers = range((parent.get("status") or {}).get("created") or 0)
    names = [trial_name(meta["name"], number) for number in numbers]
    found = [
        await outside.kube.get(contract.API_VERSION, "TrainingRun", meta["namespace"], name)
        for name in names
        if name not in seen
    ]
    return [run for run in found if own(parent, run) is not None]


async def _unseen_version(
    parent: Object, runs: Sequence[Object], view: View, outside: Any
) -> Object | None:
    """What was registered, if the cache does not have it and the report is not marked."""
    status = parent.get("status") or {}
    best = (status.get("best") or {}).get("run")
    for run in runs:
        name, namespace = run["metadata"]["name"], run["metadata"]["namespace"]
        known = (run.get("status") or {}).get("modelVersion")
        if name == best:
            known = status.get("modelVersion") or known
        if known and version_made_from(run, view) is None:
            report = view.get("ConfigMap", namespace, report_name(name))
            marked = registered_version(report)
            return None if marked else await unseen_version(run, known, outside)
    return None


def _trial(parent: Object, run: Object, view: View, unseen: Object | None) -> ObservedTrial | None:
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
    version = unseen if unseen is not None and is_made_from(run, unseen) else None
    return ObservedTrial(
        number=number,
        raw_run=run,
        raw_report=report,
        raw_config=view.get("ConfigMap", namespace, config_name(name)),
        raw_version=version_made_from(run, view) or version,
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
