"""What an Experiment does next: start trials, remember the best, register it.

Trials count by what is durable: the report of a trial that ended says how it ended and its value,
so a lost status loses nothing. A trial that somebody deleted is abandoned: its number is not used
again and counts as done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from everloop import contract
from everloop.api.conditions import Condition, condition, is_true, merge, stalled, timestamp
from everloop.api.experiment import BestTrial, Experiment, ExperimentStatus
from everloop.api.report import Report
from everloop.api.trainingrun import TrainingRun
from everloop.manifests.experiment import build_trial
from everloop.plans.plan import Child, Event, Mode, Patch, Plan
from everloop.plans.registration import Registration, Versions, registration
from everloop.plans.search import Trial, size, suggest


@dataclass(frozen=True)
class ObservedTrial:
    """A trial as read: its TrainingRun, and its ConfigMaps and version where they exist."""

    number: int
    raw_run: Mapping[str, Any]
    raw_report: Mapping[str, Any] | None
    raw_config: Mapping[str, Any] | None
    raw_version: Mapping[str, Any] | None
    run: TrainingRun
    report: Report | None


@dataclass(frozen=True)
class Observed:
    """An Experiment, its trials, and the names that are taken for its best one's version."""

    experiment: Experiment
    raw_status: Mapping[str, Any]
    trials: tuple[ObservedTrial, ...]
    version_names: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """How the search ended, if it did."""

    finished: bool
    failed: bool
    exceeded: bool  # failed because of too many failed trials
    version: str | None  # what was registered


@dataclass(frozen=True)
class Tally:
    """The trials by how they stand."""

    running: tuple[Trial, ...]
    succeeded: tuple[Trial, ...]
    failed: tuple[Trial, ...]
    created: int  # numbers used so far, deleted trials included


def plan(observed: Observed, now: datetime) -> Plan:
    """The next trials, the status, and the registration of the best once the search has ended."""
    experiment = observed.experiment
    spec = experiment.spec
    tally = _tally(observed)
    best = best_trial(observed, tally)
    try:
        total = size(spec)
        new = [] if _is_over(observed, tally, best) else _next_trials(observed, tally, total)
    except ValueError as error:
        return _invalid(observed, str(error), now)
    created = tally.created + len(new)
    ended = not new and not tally.running
    exceeded = len(tally.failed) > spec.max_failed_trials
    failed = exceeded or (ended and best is None and not spec.suspend)
    complete = ended and not failed and (created >= total or _goal_reached(observed, best))
    registering = complete and best is not None and spec.on_complete.register_ == "Best"
    children: list[Child] = [
        # one that is refused keeps its number, and so do those after it
        Child(build_trial(experiment, number, parameters), mode=Mode.CREATE_ONCE, after=True)
        for number, parameters in new
    ]
    patches: list[Patch] = [*_suspend_patches(observed)]
    version = None
    if registering and best is not None:
        step = _register(observed, best)
        children += step.children
        patches += step.patches
        version = step.version
    finished = failed or (complete and (not registering or version is not None))
    outcome = Outcome(finished, failed, exceeded, version)
    conditions = _conditions(observed, tally, total, outcome)
    before = experiment.status
    status = ExperimentStatus(
        observed_generation=experiment.metadata.generation,
        phase=_phase(observed, finished, failed),
        conditions=[],
        created=max(created, before.created),
        running=len(tally.running) + len(new),
        succeeded=len(tally.succeeded),
        failed=len(tally.failed),
        best=best,
        model_version=version,
        start_time=before.start_time or (timestamp(now) if created else None),
        completion_time=(before.completion_time or timestamp(now)) if finished else None,
    ).to_dict()
    status["conditions"] = merge(
        observed.raw_status.get("conditions"), conditions, experiment.metadata.generation, now
    )
    unmade = {**status, "created": tally.created, "running": len(tally.running)}
    if not tally.created:
        unmade.pop("startTime", None)
    return Plan(
        children=tuple(children),
        patches=tuple(patches),
        status=status,
        unmade=unmade if new else None,
        events=_events(observed, outcome, best),
    )


def _register(observed: Observed, best: BestTrial) -> Registration:
    (trial,) = (item for item in observed.trials if item.number == best.trial)
    if trial.raw_report is None:  # a succeeded trial has one
        return Registration()
    before = observed.experiment.status
    registered = before.best is not None and before.best.run == best.run
    versions = Versions(
        trial.raw_version,
        known=(before.model_version if registered else None) or trial.run.status.model_version,
        taken=observed.version_names,
    )
    return registration(trial.raw_run, trial.raw_report, trial.raw_config, versions)


def best_trial(observed: Observed, tally: Tally) -> BestTrial | None:
    """The best succeeded trial whose gates hold; the earlier one of equals."""
    runs = {item.number: item.run for item in observed.trials}
    allowed = [
        trial
        for trial in tally.succeeded
        if not any(gate.verdict == contract.FAIL for gate in runs[trial.number].status.gates or [])
    ]
    if not allowed:
        return None
    sign = 1 if observed.experiment.spec.objective.direction == "Maximize" else -1
    first = max(allowed, key=lambda item: (sign * (item.value or 0.0), -item.number))
    return BestTrial(
        trial=first.number,
        run=runs[first.number].metadata.name,
        value=str(first.value),
        parameters=dict(first.parameters),
    )


def _tally(observed: Observed) -> Tally:
    spec = observed.experiment.spec
    names = [parameter.name for parameter in spec.parameters]
    by_state: dict[str, list[Trial]] = {"Running": [], "Succeeded": [], "Failed": []}
    for item in observed.trials:
        parameters = {
            name: item.run.spec.parameters[name]
            for name in names
            if name in item.run.spec.parameters
        }
        value = _objective(item.report, spec.objective.metric)
        state: Literal["Running", "Succeeded", "Failed"] = "Running"
        status = item.run.status.to_dict()
        unusable = item.report is not None and value is None
        if unusable or is_true(status, contract.FAILED):
            state = "Failed"
        elif value is not None and is_true(status, contract.COMPLETE):
            state = "Succeeded"  # complete, so that its gates are known
        by_state[state].append(Trial(item.number, parameters, state, value))
    highest = max((item.number for item in observed.trials), default=-1)
    return Tally(
        running=tuple(by_state["Running"]),
        succeeded=tuple(by_state["Succeeded"]),
        failed=tuple(by_state["Failed"]),
        created=max(highest + 1, observed.experiment.status.created),
    )


def _objective(report: Report | None, metric: str) -> float | None:
    if report is None or not report.succeeded or metric not in report.metrics:
        return None
    return float(report.metrics[metric])


def _goal_reached(observed: Observed, best: BestTrial | None) -> bool:
    objective = observed.experiment.spec.objective
    if objective.goal is None or best is None:
        return False
    difference = float(best.value) - float(objective.goal)
    return difference >= 0 if objective.direction == "Maximize" else difference <= 0


def _is_over(observed: Observed, tally: Tally, best: BestTrial | None) -> bool:
    """Whether no further trial may start."""
    spec = observed.experiment.spec
    ended = is_true(dict(observed.raw_status), contract.COMPLETE) or is_true(
        dict(observed.raw_status), contract.FAILED
    )
    return (
        ended
        or spec.suspend
        or len(tally.failed) > spec.max_failed_trials
        or _goal_reached(observed, best)
        or _undecided(observed, tally)
    )


def _undecided(observed: Observed, tally: Tally) -> bool:
    """Whether a trial has reported a value, and its gates have not been judged yet.

    It may be what reaches the goal, or one failure too many: after a loss of all statuses a search
    that had ended by either would train again. Of one that is stalled nothing more will be known.
    """
    open_ones = {trial.number for trial in tally.running}
    return any(
        trial.number in open_ones
        and trial.report is not None
        and not stalled(trial.run.status.to_dict())
        for trial in observed.trials
    )


def _next_trials(observed: Observed, tally: Tally, total: int) -> list[tuple[int, dict[str, str]]]:
    """The trials to start now, each asked with those before it as running."""
    spec = observed.experiment.spec
    history: list[Trial] = [*tally.running, *tally.succeeded, *tally.failed]
    free = min(spec.parallel_trials - len(tally.running), total - tally.created)
    new = []
    for number in range(tally.created, tally.created + max(free, 0)):
        parameters = suggest(spec, history, number)
        history.append(Trial(number, parameters, "Running"))
        new.append((number, parameters))
    return new


def _suspend_patches(observed: Observed) -> list[Patch]:
    """Trials are ours: they are suspended and resumed with the Experiment."""
    wanted = observed.experiment.spec.suspend
    return [
        Patch(
            {
                "apiVersion": contract.API_VERSION,
                "kind": "TrainingRun",
                "metadata": {
                    "name": item.run.metadata.name,
                    "namespace": item.run.metadata.namespace,
                    "uid": item.run.metadata.uid,
                },
                "spec": {"suspend": wanted},
            }
        )
        for item in observed.trials
        if item.report is None and item.run.spec.suspend != wanted
    ]


def _phase(observed: Observed, finished: bool, failed: bool) -> str:
    if failed:
        return "Failed"
    if finished:
        return "Complete"
    return "Suspended" if observed.experiment.spec.suspend else "Running"


def _conditions(observed: Observed, tally: Tally, total: int, outcome: Outcome) -> list[Condition]:
    spec = observed.experiment.spec
    done = len(tally.succeeded) + len(tally.failed)
    progress = f"{done} of {total} trials ended, {len(tally.failed)} of them failed"
    suspended = condition(
        contract.SUSPENDED,
        spec.suspend,
        "Suspended" if spec.suspend else "Active",
        "spec.suspend is true: no trial starts" if spec.suspend else "",
    )
    if outcome.failed:
        reason = "TooManyFailedTrials" if outcome.exceeded else "NoTrialSucceeded"
        message = f"{progress}; see `kubectl get mltr -l {contract.LABEL_EXPERIMENT}=" + (
            f"{observed.experiment.metadata.name}`"
        )
        return [
            condition(contract.READY, False, reason, message),
            condition(contract.FAILED, True, reason, message),
            condition(contract.STALLED, True, reason, message),
            condition(contract.RECONCILING, False, reason),
            suspended,
        ]
    if outcome.finished:
        version = outcome.version
        message = f"{progress}; registered {version}" if version else progress
        return [
            condition(contract.READY, True, "Complete", message),
            condition(contract.COMPLETE, True, "Complete", message),
            condition(contract.RECONCILING, False, "Complete"),
            suspended,
        ]
    problem = _stalled_trial(observed, tally)
    if problem:
        return [
            condition(contract.READY, False, "TrialStalled", problem),
            condition(contract.STALLED, True, "TrialStalled", problem),
            condition(contract.RECONCILING, False, "TrialStalled"),
            suspended,
        ]
    reason = "Suspended" if spec.suspend else "Searching"
    # the count is in status: in a message it would be written with every trial
    return [
        condition(contract.READY, False, reason, f"{total} trials wanted"),
        condition(contract.RECONCILING, not spec.suspend, reason),
        suspended,
    ]


def _stalled_trial(observed: Observed, tally: Tally) -> str:
    """The first trial under way that nothing but a person can help, and what it says is wrong."""
    under_way = {trial.number for trial in tally.running}
    for trial in observed.trials:
        problem = stalled(trial.run.status.to_dict())
        if trial.number in under_way and problem:
            return f"trial {trial.run.metadata.name} cannot go on: {problem}"
    return ""


def _invalid(observed: Observed, message: str, now: datetime) -> Plan:
    experiment = observed.experiment
    status = experiment.status.model_copy(
        update={"observed_generation": experiment.metadata.generation, "phase": "Invalid"}
    ).to_dict()
    status["conditions"] = merge(
        observed.raw_status.get("conditions"),
        [
            condition(contract.READY, False, contract.REASON_INVALID_SPEC, message),
            condition(contract.STALLED, True, contract.REASON_INVALID_SPEC, message),
            condition(contract.RECONCILING, False, contract.REASON_INVALID_SPEC),
        ],
        experiment.metadata.generation,
        now,
    )
    return Plan(status=status)


def _events(observed: Observed, outcome: Outcome, best: BestTrial | None) -> tuple[Event, ...]:
    was_over = observed.experiment.status.completion_time is not None
    if not outcome.finished or was_over:
        return ()
    if outcome.failed:
        return (Event("Failed", "the search failed; see the conditions", "Warning"),)
    found = f"best trial {best.trial} with {best.value}" if best else "no trial passed its gates"
    registered = f"; registered {outcome.version}" if outcome.version else ""
    return (Event("Complete", found + registered),)
