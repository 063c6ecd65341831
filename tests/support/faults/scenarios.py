"""What the operator works on while it is disturbed.

A scenario is what exists at the start, what happens meanwhile, and when it is over. What happens is
driven by what is seen, never by time or by order, since the operator may be killed at any moment: a
`drive` is called again and again, and does what is not done yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from samples import (
    make_deployment,
    make_experiment,
    make_model_version,
    make_monitor,
    make_training_run,
)

from everloop import contract
from everloop.api.conditions import is_true
from everloop.manifests.trainingrun import report_name
from faults.admin import Json
from faults.world import World

MODEL = "flights"
GATES = [{"metric": "auc", "min": "0.5"}]


async def _nothing(world: World) -> None:
    """Nobody does anything meanwhile."""


def _as_told(world: World) -> None:
    """No alert fires, and nobody is asked for answers."""


@dataclass(frozen=True)
class Scenario:
    """`prepare` sets what the stand-ins say before anything starts."""

    name: str
    setup: Callable[[str], Sequence[Json]]  # by namespace
    done: Callable[[World], bool]
    drive: Callable[[World], Awaitable[None]] = _nothing
    prepare: Callable[[World], None] = _as_told


# --- a run, and a search --------------------------------------------------------------------------
def a_run(namespace: str) -> list[Json]:
    return [make_training_run(f"{MODEL}-a", namespace, modelName=MODEL, gates=GATES, retries=1)]


def _run_done(world: World) -> bool:
    return complete(world, "trainingruns", f"{MODEL}-a") and registered(world, 1)


def _retried(world: World) -> bool:
    run = world.get("trainingruns", f"{MODEL}-a") or {}
    return _run_done(world) and (run.get("status") or {}).get("attempt") == 2


def _first_attempt_fails(world: World) -> None:
    world.runner.fails = lambda _, attempt: attempt == 1


async def _delete_its_version(world: World) -> None:
    """Which is not registered again: the report comes to know of it."""
    version = world.get("modelversions", f"{MODEL}-v1")
    if version is not None and _retried(world):
        await world.delete(version)


def _stays_deleted(world: World) -> bool:
    report = world.admin.get("configmaps", world.namespace, report_name(f"{MODEL}-a")) or {}
    noted = (report.get("metadata") or {}).get("annotations") or {}
    gone = world.get("modelversions", f"{MODEL}-v1") is None
    return gone and contract.ANNOTATION_REGISTERED in noted


RUN = Scenario("run", a_run, _run_done)
RETRY = Scenario("retry", a_run, _stays_deleted, _delete_its_version, _first_attempt_fails)


def an_experiment(namespace: str, **spec: Any) -> list[Json]:
    template = {
        "modelName": MODEL,
        "steps": [{"name": "train", "command": ["python", "train.py"]}],
        "output": {"uri": f"s3://models/{MODEL}"},
        "gates": GATES,
    }
    on_complete = {"register": "Best"}
    return [
        make_experiment(
            "search", namespace, modelName=MODEL, template=template, onComplete=on_complete, **spec
        )
    ]


def _experiment_done(world: World) -> bool:
    return complete(world, "experiments", "search") and registered(world, 1)


def _with_a_goal(namespace: str) -> list[Json]:
    """By this seed the first three trials have 0.65, 0.78 and 0.77."""
    objective = {"metric": "auc", "direction": "Maximize", "goal": "0.78"}
    algorithm = {"name": "Random", "seed": 5}
    return an_experiment(
        namespace, objective=objective, algorithm=algorithm, trials=6, parallelTrials=3
    )


def _best_first(world: World) -> None:
    """Of three at once the one that reaches the goal ends first, so that there are never more."""

    def waits(run: Json) -> bool:
        search = world.get("experiments", "search") or {}
        best = (search.get("status") or {}).get("best") or {}
        return bool(run["metadata"]["name"] != "search-1" and best.get("run") != "search-1")

    world.hanging = waits


EXPERIMENT = Scenario("experiment", an_experiment, _experiment_done)
GOAL_REACHED = Scenario("goal-reached", _with_a_goal, _experiment_done, prepare=_best_first)


# --- rollouts -------------------------------------------------------------------------------------
ROLLOUT = {
    "steps": [{"weight": 20}, {"analysis": {}}, {"weight": 100}],
    "analysis": {"minSamples": 100, "metrics": [{"max": "0.05"}]},
}


def a_rollout(namespace: str) -> list[Json]:
    return [
        make_model_version(MODEL, 1, namespace),
        make_deployment(MODEL, namespace, modelName=MODEL, rollout=ROLLOUT),
    ]


async def challenge(world: World) -> None:
    """A second version, once the first serves."""
    if champion(world) == f"{MODEL}-v1":
        await world.create(make_model_version(MODEL, 2, world.namespace))


def good_challenger(world: World) -> None:
    world.facts.answers = {f"{MODEL}-v1": (4000, 0), f"{MODEL}-v2": (1000, 0)}


def _bad_challenger(world: World) -> None:
    world.facts.answers = {f"{MODEL}-v1": (4000, 0), f"{MODEL}-v2": (500, 500)}


def promoted(world: World) -> bool:
    return champion(world) == f"{MODEL}-v2" and _served(world) == {f"{MODEL}-v2"}


def _rejected(world: World) -> bool:
    deployment = world.get("deployments", MODEL) or {}
    rejected = [
        item["modelVersion"] for item in (deployment.get("status") or {}).get("rejected") or ()
    ]
    return rejected == [f"{MODEL}-v2"] and _served(world) == {f"{MODEL}-v1"}


PROMOTION = Scenario("promotion", a_rollout, promoted, challenge, good_challenger)
REJECTION = Scenario("rejection", a_rollout, _rejected, challenge, _bad_challenger)


# --- from an alert to a run -----------------------------------------------------------------------
def a_monitor(namespace: str, cooldown: str = "720h") -> list[Json]:
    """By default nothing trains again in a trial, however long the alert fires."""
    run_spec = make_training_run("", namespace, modelName=MODEL, gates=GATES)["spec"]
    provenance = {"run": "by-hand", "runSpec": run_spec}
    versions = [{"modelVersion": f"{MODEL}-v1", "weight": 100}]
    deployment = make_deployment(MODEL, namespace, modelName=MODEL, versions=versions)
    del deployment["spec"]["rollout"]
    retrain = {"signals": ["ErrorsHigh"], "cooldown": cooldown}
    return [
        make_model_version(MODEL, 1, namespace, provenance=provenance),
        deployment,
        make_monitor("watch", namespace, MODEL, retrain=retrain),
    ]


def errors_are_high(world: World) -> None:
    """From the start to the end, whatever is trained meanwhile."""
    world.facts.firing = lambda: frozenset({("ErrorsHigh", f"{MODEL}-v1")})


def _in_vain(world: World) -> None:
    errors_are_high(world)
    world.runner.fails = lambda *_: True


def retrained(world: World) -> bool:
    runs = world.list("trainingruns")
    return bool(runs) and all(_is(run, contract.COMPLETE) for run in runs) and (
        registered(world, 2)
    )  # fmt: skip


def _refused(world: World, reason: str) -> bool:
    """Whether the Monitor was asked for another run, and said why not."""
    monitor = world.get("monitors", "watch") or {}
    refusals = (monitor.get("status") or {}).get("refusals") or ()
    return reason in {item["reason"] for item in refusals}


def _retrained_once(world: World) -> bool:
    return retrained(world) and _refused(world, "NewerVersionWaiting")


def _failed_once(world: World) -> bool:
    runs = world.list("trainingruns")
    failed = bool(runs) and all(_is(run, contract.FAILED) for run in runs)
    return failed and _refused(world, "Cooldown")


# Only the version that waits keeps the alert from training again.
ALERT = Scenario(
    "alert", partial(a_monitor, cooldown="0s"), _retrained_once, prepare=errors_are_high
)
ALERT_IN_VAIN = Scenario("alert-in-vain", a_monitor, _failed_once, prepare=_in_vain)


# --- what is seen ---------------------------------------------------------------------------------
def _is(item: Json, condition: str) -> bool:
    return is_true(item.get("status"), condition)


def phase(item: Json) -> str:
    return str((item.get("status") or {}).get("phase"))


def complete(world: World, plural: str, name: str) -> bool:
    found = world.get(plural, name)
    return found is not None and _is(found, contract.COMPLETE)


def registered(world: World, number: int) -> bool:
    """A version that has said what it is, and whose report knows of it."""
    version = world.get("modelversions", f"{MODEL}-v{number}")
    return version is not None and _is(version, contract.READY)


def champion(world: World) -> str | None:
    found = world.get("deployments", MODEL)
    return ((found or {}).get("status") or {}).get("champion")


def _served(world: World) -> set[str]:
    """Versions that have servers."""
    found = world.admin.list("deployments.apps", world.namespace)
    labels = [item["metadata"]["labels"] for item in found]
    return {
        label[contract.LABEL_MODEL_VERSION]
        for label in labels
        if contract.LABEL_MODEL_VERSION in label
    }
