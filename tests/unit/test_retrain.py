"""When a Monitor makes a TrainingRun, and when it refuses, pass by pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from monitors import (
    RUN_SPEC,
    START,
    World,
    after,
    firing_world,
    make_deployment,
    make_monitor,
    make_version,
)

from everloop import contract
from everloop.api.modelversion import ModelVersion
from everloop.manifests.retraining import read_run_spec
from everloop.plans.plan import Mode, OnConflict
from everloop.settings import Settings


def test_an_alert_makes_one_run_however_often_it_is_repeated() -> None:
    world = firing_world()
    for second in range(1, 60):
        world.step(after(seconds=second))
    assert [run["metadata"]["name"] for run in world.runs] == ["flights-watch-1-1"]
    assert world.refusals() == {}  # the run is the answer to it
    assert world.status_writes == 2  # rules loaded; firing and the run


def test_the_same_alert_seen_by_a_stale_cache_names_the_same_run() -> None:
    world = firing_world()
    first = world.step(after(seconds=1))
    world.hidden = {item["metadata"]["name"] for item in world.made}
    again = world.step(after(seconds=2))
    assert _runs(first) == _runs(again) == ["flights-watch-1-1"]
    assert again.events == ()  # said once
    assert again.status == first.status


def test_a_record_that_is_seen_before_its_run_makes_no_second_run() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    world.hidden = {"flights-watch-1-1"}
    assert _runs(world.step(after(seconds=2))) == []
    assert len(world.runs) == 1


def test_a_run_that_is_seen_in_the_midst_of_a_pass_is_no_strangers() -> None:
    """The operator died before it recorded the run, and a new one begins to see what there is."""
    world = firing_world()
    world.step(after(seconds=1))
    world.made = world.runs
    world.hidden = world.arriving = {"flights-watch-1-1"}
    assert _runs(world.step(after(seconds=2))) == []
    assert len(world.runs) == 1


def test_a_record_lost_to_a_crash_is_written_again() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    record = next(item for item in world.made if item["kind"] == "ControllerRevision")
    world.made.remove(record)
    world.step(after(seconds=2))
    again = next(item for item in world.made if item["kind"] == "ControllerRevision")
    assert again["metadata"]["name"] == record["metadata"]["name"]
    assert again["data"]["trigger"] == record["data"]["trigger"]


def test_the_run_is_the_champions_own_on_newer_data_with_the_overrides() -> None:
    world = firing_world(
        retrain={
            "signals": ["InputDrift"],
            "newData": {"minRows": 128000},
            "overrides": {
                "parameters": {"max_iter": "200"},
                "gates": [{"metric": "val_auc", "min": "0.60"}],
                "activeDeadlineSeconds": 600,
            },
        }
    )
    plan = world.step(after(seconds=1))
    child = next(item for item in plan.children if item.manifest["kind"] == "TrainingRun")
    assert (child.mode, child.owned, child.on_conflict) == (
        Mode.CREATE_ONCE,
        False,
        OnConflict.REPLAN,
    )
    spec = child.manifest["spec"]
    assert spec["newData"] == {"minRows": 128000, "arrivedAfter": "2026-01-01T12:00:00Z"}
    assert spec["parameters"] == {"learning_rate": "0.1", "max_iter": "200"}
    assert [gate["min"] for gate in spec["gates"]] == ["0.60"]
    assert spec["activeDeadlineSeconds"] == 600
    assert spec["suspend"] is False
    assert "digest" in RUN_SPEC["data"][0]
    assert "digest" not in spec["data"][0]  # a pin would forbid newer data
    assert spec["data"][0]["uri"] == RUN_SPEC["data"][0]["uri"]
    assert spec["steps"][0]["command"] == RUN_SPEC["steps"][0]["command"]


@pytest.mark.parametrize(
    ("since", "expected"),
    [("ChampionTrained", "2026-01-01T09:00:00Z"), ("AlertStart", "2026-01-02T03:00:00Z")],
)
def test_since_when_data_count_as_new(since: str, expected: str) -> None:
    retrain = {"signals": ["InputDrift"], "newData": {"minRows": 1, "since": since}}
    world = firing_world(retrain=retrain)
    made_v1: dict[str, Any] = {
        "apiVersion": contract.API_VERSION,
        "kind": "TrainingRun",
        "metadata": {"name": "made-v1", "namespace": "ml", "uid": "uid-made-v1"},
        "status": {"completionTime": "2026-01-01T09:00:00Z"},
    }
    world.made.append(made_v1)
    world.step(after(seconds=1))
    assert world.runs[-1]["spec"]["newData"]["arrivedAfter"] == expected


def test_the_run_says_why_it_exists() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    annotations = world.runs[0]["metadata"]["annotations"]
    assert json.loads(annotations[contract.ANNOTATION_TRIGGER]) == {
        "type": "Alert",
        "monitor": "flights-watch",
        "champion": "flights-v1",
        "clockSpeedup": "1",
        "signal": "InputDrift",
        "value": "2.2",
        "bound": "1",
        "samples": 300,
        "top": ["dewp 2.2", "temp 2", "hour 0.4"],
        "activeAt": "2026-01-02T03:00:00.000000Z",
        "startsAt": "2026-01-02T03:00:00.000000Z",
    }
    assert world.runs[0]["metadata"]["labels"][contract.LABEL_MONITOR] == "flights-watch"
    assert world.status["lastRetrain"] == {
        "run": "flights-watch-1-1",
        "signal": "InputDrift",
        "time": "2026-01-02T03:00:01Z",
    }


def _suspend(world: World) -> None:
    world.monitor["spec"]["suspend"] = True


def _challenge(world: World) -> None:
    world.deployment["status"]["challenger"] = "flights-v2"


def _wait(world: World) -> None:
    world.versions.append(make_version(2))


def _no_provenance(world: World) -> None:
    world.versions = [make_version(1, provenance={"run": "made-v1"})]


def _unreadable(world: World) -> None:
    """Of a version that was made by hand: nobody looks into the record of its run."""
    provenance = {"run": "made-v1", "runSpec": {**RUN_SPEC, "steps": [{"name": "train"}]}}
    world.versions = [make_version(1, provenance=provenance)]


def test_what_is_wrong_with_a_run_that_cannot_be_repeated_is_told() -> None:
    world = firing_world()
    _unreadable(world)
    told = read_run_spec(ModelVersion.model_validate(world.versions[0]))
    assert told == (
        "flights-v1 has no run to repeat: spec.provenance.runSpec.steps.0.command: Field required; "
        "train it by a TrainingRun"
    )


def _other_run(world: World) -> None:
    """One that was made for another alert, just before the operator was killed."""
    alone = firing_world()
    alone.step(after(hours=-1))
    world.made += alone.runs


@pytest.mark.parametrize(
    ("happen", "reason"),
    [
        (_suspend, "Suspended"),
        (_challenge, "RolloutInFlight"),
        (_wait, "NewerVersionWaiting"),
        (_no_provenance, "NoProvenance"),
        (_unreadable, "NoProvenance"),
        (_other_run, "RunInFlight"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals(happen: Callable[[World], None], reason: str) -> None:
    world = firing_world()
    happen(world)
    before = len(world.runs)
    for second in range(1, 10):
        plan = world.step(after(seconds=second))
        assert _runs(plan) == []
    assert len(world.runs) == before
    assert world.refusals() == {reason: 1}


def test_the_same_reason_counts_again_for_the_next_alert() -> None:
    world = firing_world()
    _challenge(world)
    world.step(after(seconds=1))
    world.alert("InputDrift", after(minutes=5, milliseconds=700))
    world.step(after(minutes=5, milliseconds=900))
    world.step(after(minutes=5, seconds=4))
    assert world.refusals() == {"RolloutInFlight": 2}


def test_versions_that_are_rejected_or_not_eligible_do_not_wait() -> None:
    world = firing_world()
    world.versions += [make_version(2), make_version(3, eligible=False)]
    rejected = {"modelVersion": "flights-v2", "reason": "AnalysisFailed", "time": "x"}
    world.deployment["status"]["rejected"] = [rejected]
    world.step(after(seconds=1))
    assert len(world.runs) == 1


@pytest.mark.parametrize("seen", [True, False], ids=["not-judged-yet", "not-in-the-cache-yet"])
def test_what_came_of_a_run_is_waited_for_from_the_moment_the_run_has_ended(seen: bool) -> None:
    """An alert fires until its version serves, and there need be no cooldown."""
    world = firing_world(retrain={"signals": ["InputDrift"], "cooldown": "0s"})
    world.step(after(seconds=1))
    version = make_version(2)
    del version["status"]
    world.versions.append(version)
    world.hidden = set() if seen else {"flights-v2"}
    world.finish(world.runs[0], after(minutes=10))
    world.runs[0]["status"]["modelVersion"] = "flights-v2"
    world.step(after(minutes=10, seconds=1))
    assert len(world.runs) == 1
    assert world.refusals() == {"NewerVersionWaiting": 1}
    world.versions.pop()
    world.step(after(minutes=10, seconds=2))
    assert len(world.runs) == 2, "somebody deleted it, and the need is still there"


def test_cooldown_counts_from_the_end_of_the_last_run() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    world.finish(world.runs[0], after(minutes=10), "Failed")
    plan = world.step(after(minutes=11))
    assert world.refusals() == {"Cooldown": 1}
    assert world.status["nextAllowedRetrain"] == "2026-01-02T04:10:00Z"
    assert plan.requeue_at == after(minutes=70, milliseconds=1)
    world.step(plan.requeue_at)
    assert [run["metadata"]["name"] for run in world.runs] == [
        "flights-watch-1-1",
        "flights-watch-1-2",
    ]


def test_cooldown_is_divided_by_the_speedup() -> None:
    world = World(settings=Settings(prometheus_url="http://x", clock_speedup=3600))
    world.load_rules()
    world.step()
    world.alert("InputDrift", START)
    world.step(after(seconds=1))
    world.finish(world.runs[0], after(seconds=10))
    world.step(after(seconds=10.5))
    assert len(world.runs) == 1
    world.step(after(seconds=11.1))
    assert len(world.runs) == 2


def test_a_deleted_run_neither_frees_its_number_nor_its_cooldown() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    world.made = [item for item in world.made if item["kind"] != "TrainingRun"]
    world.step(after(minutes=30))
    assert world.refusals() == {"Cooldown": 1}
    world.step(after(minutes=61))
    assert [run["metadata"]["name"] for run in world.runs] == ["flights-watch-1-2"]


def test_lost_status_loses_neither_runs_nor_cooldown() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    before = world.status["lastRetrain"]
    world.monitor.pop("status")
    world.step(after(seconds=30))
    assert len(world.runs) == 1
    assert world.status["lastRetrain"] == before


@pytest.mark.parametrize(
    ("signal", "state", "version"),
    [
        ("InputDrift", "pending", "flights-v1"),
        ("Absent", "firing", "flights-v1"),
        ("InputDrift", "firing", "flights-v0"),
    ],
    ids=["pending", "signal-not-asked-for", "older-champion"],
)
def test_alerts_that_ask_for_no_run(signal: str, state: str, version: str) -> None:
    world = World()
    world.load_rules()
    world.step()
    world.alert(signal, START, state, version)
    world.step(after(seconds=1))
    assert world.runs == []
    assert world.refusals() == {}


def test_an_alert_of_rules_that_are_no_longer_in_force_asks_for_nothing() -> None:
    world = firing_world()
    world.monitor["spec"]["inputs"]["threshold"] = "5"
    world.step(after(seconds=1))
    assert world.runs == []


def test_without_retrain_nothing_is_made() -> None:
    world = firing_world(retrain=None)
    world.step(after(seconds=1))
    assert world.runs == []
    assert world.signal("InputDrift")["state"] == "Firing"


def test_a_persons_request_makes_one_run_for_each_token() -> None:
    world = World(make_monitor(retrain=None))
    world.load_rules()
    for number, token in enumerate(["cli-1", "cli-2"], start=1):
        world.monitor["metadata"]["annotations"] = {contract.ANNOTATION_RETRAIN: token}
        for second in range(5):
            world.step(after(hours=number, seconds=second))
        assert len(world.runs) == number
        trigger = json.loads(world.runs[-1]["metadata"]["annotations"][contract.ANNOTATION_TRIGGER])
        assert (trigger["type"], trigger["token"]) == ("Manual", token)
        world.finish(world.runs[-1], after(hours=number, minutes=1))
        world.step(after(hours=number, minutes=2))


def test_a_request_does_not_wait_for_the_cooldown_but_for_the_run_before_it() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    world.monitor["metadata"]["annotations"] = {contract.ANNOTATION_RETRAIN: "cli-1"}
    for second in range(2, 9):
        world.step(after(seconds=second))
    assert world.refusals() == {"RunInFlight": 1}
    world.prometheus.alerts.clear()  # type: ignore[union-attr]
    world.finish(world.runs[0], after(seconds=20))
    world.step(after(seconds=21))
    assert len(world.runs) == 2


def test_numbers_are_counted_for_each_champion() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    world.finish(world.runs[0], after(seconds=2))
    world.versions.append(make_version(2))
    world.deployment = make_deployment("flights-v2")
    world.load_rules()
    world.alert("InputDrift", after(hours=3), version="flights-v2")
    world.step(after(hours=3))
    assert world.runs[-1]["metadata"]["name"] == "flights-watch-2-1"


def test_a_foreign_run_with_the_next_name_is_passed_over() -> None:
    world = firing_world()
    world.made.append(
        {
            "apiVersion": contract.API_VERSION,
            "kind": "TrainingRun",
            "metadata": {"name": "flights-watch-1-1", "namespace": "ml", "uid": "somebody"},
        }
    )
    world.step(after(seconds=1))
    assert world.runs[-1]["metadata"]["name"] == "flights-watch-1-2"


def test_errors_trigger_says_when_the_alert_began_to_fire() -> None:
    world = World(make_monitor(errors={"rate": "0.05", "for": "30s"}))
    world.load_rules()
    world.step()
    world.alert("ErrorsHigh", START)
    world.step(after(seconds=31))
    trigger = json.loads(world.runs[0]["metadata"]["annotations"][contract.ANNOTATION_TRIGGER])
    assert trigger["startsAt"] == (START + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert (trigger["value"], trigger["bound"], trigger["samples"]) == ("0.01", "0.05", 200)


def _runs(plan: Any) -> list[str]:
    return [
        child.manifest["metadata"]["name"]
        for child in plan.children
        if child.manifest["kind"] == "TrainingRun"
    ]
