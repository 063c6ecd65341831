"""Experiments from their first trial to the registered version."""

from __future__ import annotations

import pytest
from experiment_world import World

from everloop import contract
from everloop.api.conditions import find, is_true
from everloop.handlers.experiment import references


def test_a_search_runs_in_parallel_and_registers_the_best() -> None:
    world = World()
    world.tick()
    assert world.trials() == ["search-0", "search-1"]
    first = world.get("TrainingRun", "search-0")
    assert first["spec"]["parameters"]["fixed"] == "1"
    assert 0 <= float(first["spec"]["parameters"]["x"]) <= 1
    world.end(1, 0.7)
    world.tick()
    assert world.trials() == ["search-0", "search-1", "search-2"]
    for number, value in ((0, 0.6), (2, 0.65)):
        world.end(number, value)
        world.tick()
    world.end(3, 0.64)
    world.tick()  # creates the version
    assert not is_true(world.experiment["status"], contract.COMPLETE)
    assert list(references(world.experiment)), "it waits to see it"
    world.tick()  # sees it
    status = world.experiment["status"]
    assert is_true(status, contract.COMPLETE)
    assert (status["best"]["trial"], status["best"]["value"]) == (1, "0.7")
    assert status["modelVersion"] == "m-v1"
    assert world.get("ModelVersion", "m-v1")["spec"]["provenance"]["run"] == "search-1"
    assert world.tick().status == status, "at rest the status must not change"
    assert not list(references(world.experiment)), "later versions are none of its business"


def test_losing_all_status_loses_nothing() -> None:
    world = World()
    world.tick()
    world.end(0, 0.9)
    world.end(1, 0.8)
    world.tick()
    world.end(2, 0.7)
    world.end(3, 0.6)
    world.tick()
    world.tick()
    before = world.experiment["status"]
    world.experiment["status"] = {"observedGeneration": -1}
    plan = world.tick()
    assert not plan.children
    after = world.experiment["status"]
    for field in ("best", "succeeded", "failed", "created", "modelVersion"):
        assert after[field] == before[field]


@pytest.mark.parametrize("back", [0, 1, 2], ids=lambda number: f"search-{number} first")
def test_a_search_that_reached_its_goal_trains_no_more_when_all_statuses_are_lost(
    back: int,
) -> None:
    """Its own, and those of its trials, of which one comes back before the others."""
    goal = {"metric": "auc", "goal": "0.8"}
    world = World(objective=goal, trials=10, parallelTrials=3)
    world.tick()
    for number, value in ((0, 0.5), (1, 0.6), (2, 0.85)):
        world.end(number, value)
    world.tick()
    world.tick()
    before = world.experiment["status"]
    assert is_true(before, contract.COMPLETE)
    runs = [world.get("TrainingRun", name) for name in world.trials()]
    statuses = [run.pop("status") for run in runs]
    world.experiment["status"] = {"observedGeneration": -1}
    runs[back]["status"] = statuses[back]
    world.tick()
    assert len(world.trials()) == 3
    for run, status in zip(runs, statuses, strict=True):
        run["status"] = status
    world.tick()
    assert len(world.trials()) == 3
    for field in ("best", "succeeded", "failed", "created", "modelVersion"):
        assert world.experiment["status"][field] == before[field]


@pytest.mark.parametrize(
    ("value", "metric"), [(None, "auc"), (0.5, "loss")], ids=["failed", "without the metric"]
)
def test_a_trial_whose_report_says_all_makes_room_at_once(value: float | None, metric: str) -> None:
    """It is not waited for until its status says so, too; nor is the search over without it."""
    world = World(objective={"metric": metric}, parallelTrials=1)
    world.tick()
    world.end(0, value)
    del world.get("TrainingRun", "search-0")["status"]
    world.tick()
    assert world.trials() == ["search-0", "search-1"]
    assert not is_true(world.experiment["status"], contract.FAILED)


def registered_world() -> World:
    """A search of one trial has ended, and m-v1 came of it."""
    world = World(trials=1, parallelTrials=1)
    world.tick()
    world.end(0, 0.9)
    world.tick()
    world.tick()
    return world


def test_a_deleted_version_stays_deleted() -> None:
    world = registered_world()
    world.objects = [item for item in world.objects if item["kind"] != "ModelVersion"]
    assert not world.tick().children, "status knows of it"
    world.experiment["status"] = {"observedGeneration": -1}
    assert not world.tick().children, "its report knows of it"
    assert world.experiment["status"]["modelVersion"] == "m-v1"


def test_a_version_that_the_cache_has_not_seen_yet_is_not_deleted() -> None:
    world = registered_world()
    world.unseen = {"m-v1"}
    plan = world.tick()
    assert (plan.children, plan.patches) == ((), ()), "its report is not marked"
    assert world.experiment["status"]["modelVersion"] == "m-v1"


def test_a_deleted_trial_is_abandoned() -> None:
    world = World()
    world.tick()
    world.objects = [item for item in world.objects if item["metadata"]["name"] != "search-1"]
    world.tick()
    assert world.trials() == ["search-0", "search-2"]


def test_the_goal_ends_the_search() -> None:
    world = World(objective={"metric": "auc", "goal": "0.8"})
    world.tick()
    world.end(0, 0.85)
    world.tick()
    assert world.trials() == ["search-0", "search-1"]
    world.end(1, 0.2)
    world.tick()
    world.tick()
    assert world.experiment["status"]["phase"] == "Complete"
    assert world.experiment["status"]["best"]["trial"] == 0


def test_minimize_prefers_the_smallest() -> None:
    world = World(objective={"metric": "auc", "direction": "Minimize"}, trials=2)
    world.tick()
    world.end(0, 0.5)
    world.end(1, 0.4)
    world.tick()
    assert world.experiment["status"]["best"]["trial"] == 1


def test_too_many_failures_end_the_search() -> None:
    world = World(maxFailedTrials=1)
    world.tick()
    world.end(0, None)
    world.tick()
    world.end(1, None)
    world.tick()
    status = world.experiment["status"]
    assert is_true(status, contract.FAILED)
    assert is_true(status, contract.STALLED)
    ready = find(status, contract.READY)
    assert ready is not None
    assert ready["reason"] == "TooManyFailedTrials"
    assert "kubectl get mltr" in ready["message"]
    count = len(world.trials())
    world.tick()
    assert len(world.trials()) == count


def test_a_trial_that_cannot_go_on_is_told_and_until_then_the_search_goes_on() -> None:
    world = World()
    world.tick()
    refused = {"type": "Stalled", "status": "True", "reason": "Invalid", "message": "no such field"}
    run = world.get("TrainingRun", "search-1")
    run["status"] = {"observedGeneration": 1, "conditions": [refused]}
    world.end(0, 0.5)
    world.tick()
    status = world.experiment["status"]
    told = find(status, contract.READY)
    assert told is not None
    assert told["reason"] == "TrialStalled"
    assert told["message"] == "trial search-1 cannot go on: no such field"
    assert is_true(status, contract.STALLED)
    assert world.trials() == ["search-0", "search-1", "search-2"]
    run["status"]["conditions"] = []
    world.tick()
    assert find(world.experiment["status"], contract.STALLED) is None


def test_a_trial_without_the_metric_failed() -> None:
    world = World(trials=1, parallelTrials=1, objective={"metric": "f1"})
    world.tick()
    world.end(0, 0.9)
    world.tick()
    assert world.experiment["status"]["failed"] == 1
    assert world.experiment["status"]["phase"] == "Failed"


def test_a_trial_that_fails_its_gates_is_not_the_best() -> None:
    world = World(trials=2)
    world.tick()
    world.end(0, 0.9, gate="Fail")
    world.end(1, 0.5)
    world.tick()
    assert world.experiment["status"]["best"]["trial"] == 1


def test_suspend_reaches_the_running_trials_and_starts_none() -> None:
    world = World()
    world.tick()
    world.experiment["spec"]["suspend"] = True
    world.tick()
    assert world.get("TrainingRun", "search-0")["spec"]["suspend"] is True
    assert is_true(world.experiment["status"], contract.SUSPENDED)
    world.experiment["spec"]["suspend"] = False
    world.tick()
    assert world.get("TrainingRun", "search-0")["spec"]["suspend"] is False
    assert world.trials() == ["search-0", "search-1"]


def test_an_impossible_grid_says_which_parameter() -> None:
    world = World(algorithm={"name": "Grid"})
    world.tick()
    stalled = find(world.experiment["status"], contract.STALLED)
    assert stalled is not None
    assert stalled["reason"] == contract.REASON_INVALID_SPEC
    assert "parameter x" in stalled["message"]
    assert world.trials() == []


@pytest.mark.parametrize("parallel", [1, 3])
def test_never_more_trials_than_asked_for(parallel: int) -> None:
    world = World(parallelTrials=parallel, trials=5)
    for step in range(12):
        world.tick()
        running = [
            name
            for name in world.trials()
            if not world.get("TrainingRun", name).get("status", {}).get("conditions")
        ]
        assert len(running) <= parallel
        if running:
            world.end(int(running[0].rsplit("-", 1)[1]), 0.5 + step / 100)
    assert len(world.trials()) == 5


def test_a_trial_that_the_cache_has_not_seen_yet_is_not_deleted() -> None:
    """A restarted operator may be shown an old list; the best of two is not known after one."""
    world = World(trials=2, parallelTrials=1)
    world.tick()
    world.end(0, 0.7)
    world.tick()
    assert world.trials() == ["search-0", "search-1"]
    world.unseen = {"search-1"}
    plan = world.tick()
    assert not plan.children
    assert not is_true(world.experiment["status"], contract.COMPLETE)
    assert world.experiment["status"]["running"] == 1
    world.unseen = set()
    world.end(1, 0.9)
    world.tick()
    world.tick()
    assert world.get("ModelVersion", "m-v1")["spec"]["provenance"]["run"] == "search-1"
