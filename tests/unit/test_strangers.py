"""Copies and edits by hand beside what we made: they count for nothing, and stop nothing.

`kubectl get -o yaml`, another name, `kubectl apply`: a copy bears the labels, annotations and
owners of what it was made from. Whatever they say, a pass comes to its end and counts its own only.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import deployment_world
import experiment_world
import pytest
from golden import MADE_BY_US, FakeOutside, FakeReader, FakeView, tick
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monitors import START, after, firing_world
from runs import NOW, make_run, make_version

from everloop import contract
from everloop.api.json_text import read_object
from everloop.api.monitor import MonitorStatus
from everloop.api.report import from_config_map
from everloop.api.trainingrun import StepFailure, TrainingRun
from everloop.cli.status import Chain, draw
from everloop.handlers.deployment_reads import read_requested, read_servers
from everloop.handlers.modelversion import KIND as MODEL_VERSION
from everloop.handlers.version_reads import version_made_from
from everloop.manifests.trainingrun_version import trigger_of
from everloop.plans.history import read_history
from everloop.plans.registration import next_number
from everloop.plans.trainingrun import failure_report
from everloop.plans.trainingrun_attempt import Attempt, Standing, standing
from everloop.settings import Settings

Dict = dict[str, Any]
MONITOR = "flights-watch"
HUGE = "9" * 5000  # more digits than Python reads
DEEP = "[" * 20000
few = settings(max_examples=25)  # each is several passes in a world
BY_HAND = [{"manager": "kubectl-client-side-apply", "operation": "Update"}]

# --- what people write ----------------------------------------------------------------------------
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
odd_texts = st.one_of(
    st.text(max_size=20),
    json_values.map(json.dumps),
    st.sampled_from(
        ["", "null", "[]", "1e999", HUGE, DEEP, '{"a":' * 5000, '{"x": "\\ud800"}', '{"x": 1e999}']
    ),
)
names = st.one_of(
    st.sampled_from(
        [
            f"{MONITOR}-mine",
            f"{MONITOR}-1",
            f"{MONITOR}-1-1",
            f"{MONITOR}-1-2",
            f"{MONITOR}-1-1-copy",
            f"{MONITOR}-1-01",
            f"{MONITOR}-1-9223372036854775807",
            f"{MONITOR}-99999999999999999999-1",
            f"{MONITOR}--",
            MONITOR,
        ]
    ),
    st.from_regex(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?", fullmatch=True),
    st.from_regex(rf"{MONITOR}-[0-9]{{1,3}}-[0-9]{{1,3}}", fullmatch=True),
)
triggers = st.one_of(
    odd_texts,
    st.fixed_dictionaries(
        {"monitor": st.sampled_from([MONITOR, "other"])},
        optional={"champion": st.text(max_size=9), "signal": json_values, "token": json_values},
    ).map(json.dumps),
)
moments = st.integers(-72, 72).map(lambda hours: f"{START + timedelta(hours=hours):%FT%TZ}")


@st.composite
def strangers(draw: st.DrawFn) -> Dict:
    """A TrainingRun that somebody else made, with whatever labels and annotations."""
    status: Dict = {}
    if draw(st.booleans()):
        ended = {"type": "Complete", "status": "True", "reason": "Done"}
        status = {"completionTime": draw(moments), "conditions": [ended]}
    name = draw(names)
    fits = re.fullmatch(rf"{MONITOR}-[1-9][0-9]*-[1-9][0-9]*", name)
    # a copy may bring its managers, too, and a trial is given a label by hand
    managers = [BY_HAND] if fits else [BY_HAND, MADE_BY_US]
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "TrainingRun",
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": draw(st.uuids()).hex,
            "labels": {
                contract.MANAGED_BY: contract.MANAGED_BY_VALUE,
                contract.LABEL_COMPONENT: contract.COMPONENT_RETRAINING,
                contract.LABEL_MONITOR: draw(st.sampled_from([MONITOR, MONITOR, "other"])),
            },
            "annotations": {contract.ANNOTATION_TRIGGER: draw(triggers)},
            "creationTimestamp": draw(moments),
            "managedFields": draw(st.sampled_from(managers)),
        },
        "spec": {"modelName": "flights"},
        "status": status,
    }


many_strangers = st.lists(strangers(), max_size=5, unique_by=lambda run: run["metadata"]["name"])


# --- a Monitor's runs -----------------------------------------------------------------------------
@few
@given(many_strangers)
def test_a_monitor_answers_an_alert_as_if_strangers_runs_were_not_there(runs: list[Dict]) -> None:
    alone, world = firing_world(), firing_world()
    world.made += runs
    expected, found = alone.step(after(seconds=1)), world.step(after(seconds=1))
    taken = {run["metadata"]["name"] for run in runs}
    name = next(name for name in (f"{MONITOR}-1-{n}" for n in range(1, 10)) if name not in taken)
    assert _names(found) == [name, f"{name}-decision"]
    assert _renamed(found.status, name, f"{MONITOR}-1-1") == expected.status


@few
@given(many_strangers)
def test_strangers_runs_neither_hold_up_a_monitor_nor_free_it(runs: list[Dict]) -> None:
    """One at a time and the cooldown are about its own: here the first, which ends after 2 min."""
    alone, world = firing_world(), firing_world()
    for each in (alone, world):
        each.step(after(seconds=1))
    own = {run["metadata"]["name"] for run in world.runs}
    world.made += [run for run in runs if run["metadata"]["name"] not in own]
    taken = {run["metadata"]["name"] for run in world.runs}
    for minutes, ends in ((1, False), (2, True), (3, False), (61, False), (62.1, False)):
        for each in (alone, world):
            if ends:
                each.finish(each.made[0], after(minutes=minutes))
        expected, found = alone.step(after(minutes=minutes)), world.step(after(minutes=minutes))
        free = next(n for n in range(2, 10) if f"{MONITOR}-1-{n}" not in taken)
        assert _numbered(found.status, free) == expected.status
        assert len(found.children) == len(expected.children)


@few
@given(many_strangers)
def test_what_strangers_wrote_survives_a_lost_status_and_a_new_monitor(runs: list[Dict]) -> None:
    world = firing_world()
    world.step(after(seconds=1))
    before = world.status["lastRetrain"]
    world.made += [run for run in runs if run["metadata"]["name"] != f"{MONITOR}-1-1"]
    del world.monitor["status"]
    world.monitor["metadata"]["uid"] = "uid-of-another"
    plan = world.step(after(minutes=1))
    assert world.status["lastRetrain"] == before
    assert _names(plan) == []


@few
@given(odd_texts, st.booleans())
def test_a_run_whose_trigger_was_edited_is_still_the_monitors(text: str, recorded: bool) -> None:
    """As long as a record names it; before that it may pass for a stranger's, but stops nothing."""
    world = firing_world()
    world.step(after(seconds=1))
    run, record = world.made
    run["metadata"]["annotations"][contract.ANNOTATION_TRIGGER] = text
    if not recorded:
        world.made.remove(record)
    world.step(after(minutes=1))
    if recorded:
        assert world.refusals() == {}
        assert len(world.runs) == 1


def test_a_run_of_the_recorded_name_that_somebody_else_made_is_not_the_monitors() -> None:
    """The Monitor's own was deleted: its record counts, from when it was decided."""
    world = firing_world()
    world.step(after(seconds=1))
    run = world.made[0]
    run["metadata"] |= {"labels": {}, "annotations": {}, "managedFields": BY_HAND}
    world.hidden = {run["metadata"]["name"]}
    world.step(after(minutes=30))
    assert world.refusals() == {"Cooldown": 1}


def test_a_run_that_lost_its_label_is_found_by_its_record() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    world.made[0]["metadata"]["labels"] = {}
    world.step(after(minutes=30))
    assert world.refusals() == {}
    assert len(world.runs) == 1


@few
@given(
    st.dictionaries(
        st.sampled_from(["schema", "type", "run", "time", "trigger"]), json_values, max_size=5
    ),
    st.booleans(),
)
def test_records_that_nobody_of_us_wrote_are_none(data: Dict, copied: bool) -> None:
    world = firing_world()
    world.step(after(seconds=1))
    expected = world.step(after(minutes=1)).status
    record = copy.deepcopy(world.made[1])
    record["metadata"] |= {"name": "a-copy", "uid": "copy"}
    if copied:
        record["data"]["time"] = "2030-01-01T00:00:00Z"
    else:
        record["metadata"]["name"] = f"{MONITOR}-1-7-decision"
        record["data"] = {**record["data"], **data} if data else {}
    world.made.append(record)
    assert world.step(after(minutes=1)).status == expected


@few
@given(
    st.dictionaries(
        st.sampled_from(["signal", "type", "token"]), json_values | st.just("x" * 5000), max_size=3
    ),
    moments | st.sampled_from(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]),
)
def test_a_record_by_hand_that_fits_in_all_stops_no_pass(trigger: Dict, time: str) -> None:
    """Nothing tells it from ours, so it may count; but the Monitor goes on."""
    world = firing_world()
    world.step(after(seconds=1))
    record = copy.deepcopy(world.made[1])
    run = f"{MONITOR}-1-7"
    record["metadata"] |= {"name": f"{run}-decision", "uid": "by-hand"}
    record["data"] |= {"run": run, "trigger": trigger, "time": time}
    world.made.append(record)
    for minutes in (1, 2):
        plan = world.step(after(minutes=minutes))
        assert plan.status is not None
        MonitorStatus.model_validate(plan.status)


def test_a_long_request_is_refused_once() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    world.monitor["metadata"]["annotations"] = {contract.ANNOTATION_RETRAIN: "x" * 5000}
    for second in range(2, 9):
        world.step(after(seconds=second))
    assert world.refusals() == {"RunInFlight": 1}


def _names(plan: Any) -> list[str]:
    rules = ("PrometheusRule", "ConfigMap")
    manifests = [child.manifest for child in plan.children]
    return [item["metadata"]["name"] for item in manifests if item["kind"] not in rules]


def _renamed(status: Dict | None, name: str, to: str) -> Dict:
    found: Dict = json.loads(json.dumps(status).replace(f'"{name}"', f'"{to}"'))
    return found


def _numbered(status: Dict | None, number: int) -> Dict:
    return _renamed(status, f"{MONITOR}-1-{number}", f"{MONITOR}-1-2")


# --- texts ----------------------------------------------------------------------------------------
@given(odd_texts)
def test_any_text_is_an_object_that_can_be_sent_or_none(text: str) -> None:
    found = read_object(text)
    if found is not None:
        copy.deepcopy(found)
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()


@given(odd_texts)
def test_any_trigger_can_be_noted_with_a_version(text: str) -> None:
    run = make_run()
    run["metadata"]["annotations"] = {contract.ANNOTATION_TRIGGER: text}
    json.dumps(trigger_of(TrainingRun.model_validate(run)), allow_nan=False)


@pytest.mark.parametrize(
    "said",
    [
        DEEP[:4096],
        "9" * 4096,
        '{"reason": {}, "lastLines": 7}',
        json.dumps({"reason": "x" * 200, "lastLines": ["x" * 200] * 18}),
    ],
)
def test_any_last_words_of_a_step_are_only_words(said: str) -> None:
    ended = {"exitCode": 1, "reason": "Error", "message": said}
    container = {"name": "train", "state": {"terminated": ended}}
    job = {"metadata": {"creationTimestamp": NOW}, "spec": {}, "status": {}}
    pod = {
        "metadata": {"creationTimestamp": NOW},
        "status": {"phase": "Failed", "initContainerStatuses": [container]},
    }
    stands = standing(Attempt(1, job, pod))
    assert stands.state == "Failed"
    assert _reported(stands).message == stands.message


@example("R" * 200, "w" * 300, 200)
@given(st.text(max_size=300), st.text(max_size=300), st.integers(1, 200))
def test_of_a_failed_run_there_is_always_a_report(reason: str, words: str, times: int) -> None:
    """Reasons of Events have no bound, and a report that cannot be read would never be replaced."""
    failure = _reported(Standing("Failed", "train", reason, words * times))
    assert (failure.reason, failure.message) == (reason[:128], (words * times)[:32768])


def _reported(stands: Standing) -> StepFailure:
    """What is read of the report that the operator writes in the runner's place."""
    run = TrainingRun.model_validate(make_run())
    now = datetime.now(UTC)
    kept = {
        "data": {
            contract.REPORT_KEY: json.dumps(failure_report(run, Attempt(1, None), stands, now))
        }
    }
    report = from_config_map(kept)
    assert report is not None
    assert report.failure is not None
    return report.failure


# --- trials ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["search-0-mine", "search-7", "search-00", "search-9999999999999"])
def test_a_copy_of_a_trial_is_not_one(name: str) -> None:
    """It has the same owner; counted by its number it would end the search, or be too large."""
    world, alone = experiment_world.World(), experiment_world.World()
    for each in (world, alone):
        each.tick()
    trial = copy.deepcopy(world.get("TrainingRun", "search-0"))
    trial["metadata"] |= {"name": name, "uid": "u-copy", "managedFields": BY_HAND}
    world.objects.append(trial)
    for each in (world, alone):
        each.end(0, 0.5)
        each.tick()
    assert world.experiment["status"] == alone.experiment["status"]
    assert set(world.trials()) == {*alone.trials(), name}


# --- versions -------------------------------------------------------------------------------------
def test_numbers_that_no_version_can_have_are_not_counted() -> None:
    taken = ["m-v3", "m-v99999999999999999999", f"m-v{HUGE}", "m-v4x", "m-v007", "other-v9", ""]
    assert next_number("m", taken) == 4


def test_a_copy_of_a_version_is_not_what_its_run_made() -> None:
    run = make_run()
    spec = {"modelName": "flights", "provenance": {"runUid": run["metadata"]["uid"]}}
    made = _version(spec, 5, MADE_BY_US)
    mine = _version(spec, 2, BY_HAND)
    assert version_made_from(run, FakeView([mine, made])) is made
    assert version_made_from(run, FakeView([made, _version(spec, 9, MADE_BY_US)])) is made


def _version(spec: Dict, number: int, managed: list[Dict]) -> Dict:
    meta = {"name": f"flights-v{number}", "namespace": "ml", "managedFields": managed}
    kind = {"apiVersion": contract.API_VERSION, "kind": "ModelVersion"}
    return {**kind, "metadata": meta, "spec": {**spec, "version": number}}


# --- servers and routers --------------------------------------------------------------------------
def _server(name: str, version: str = "flights-v1", **annotations: str) -> Dict:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": f"uid-{name}",
            "labels": {
                contract.LABEL_COMPONENT: contract.COMPONENT_SERVER,
                contract.LABEL_DEPLOYMENT: "flights",
                contract.LABEL_MODEL_VERSION: version,
            },
            "annotations": annotations,
        },
        "status": {"readyReplicas": 1},
    }


def test_a_copy_of_a_server_is_not_one() -> None:
    found = read_servers([_server("flights-v1"), _server("mine"), _server("m", "x-v1")], [], [])
    assert {name: server.uid for name, server in found.items()} == {"flights-v1": "uid-flights-v1"}


def test_a_copy_of_a_server_keeps_no_version() -> None:
    version = make_version(1)
    outside = FakeOutside(Settings(), FakeReader([]))
    plan = tick(MODEL_VERSION, version, [version, _server("mine")], outside, START)
    assert (plan.status or {}).get("servedBy") in (None, [])


@pytest.mark.parametrize("text", ["soon", HUGE, "0001-01-01T00:00:00+23:59", "9999-12-31"])
def test_any_mark_of_retirement_lets_servers_go_in_the_end(text: str) -> None:
    marked = _server("flights-v1", **{contract.ANNOTATION_RETIRED: text})
    read = read_servers([marked], [], [])["flights-v1"].retired_at
    world = _retiring()
    server = world.servers["flights-v1"]
    world.servers["flights-v1"] = replace(server, retired_at=read)
    for _ in range(5):
        world.sync()
        world.tick(minutes=5)
    assert "flights-v1" not in world.servers


def _retiring() -> deployment_world.World:
    """Version 2 has all the traffic, and version 1 nothing more to do."""
    listed = [{"modelVersion": "flights-v2", "weight": 100}]
    world = deployment_world.World(
        deployment_world.make_deployment(
            versions=[{"modelVersion": "flights-v1", "weight": 100}], rollout=None
        )
    )
    world.register(1, 2)
    world.tick()
    world.start_routers()
    world.ready("flights-v1")
    world.run(3)
    world.edit(versions=listed, rollout=None)
    world.tick()
    world.ready("flights-v2")
    world.run(2)
    assert world.weights == {"flights-v2": 100}
    assert "flights-v1" in world.servers
    return world


@given(odd_texts | st.dictionaries(st.text(max_size=3), json_values).map(json.dumps))
def test_weights_that_a_hand_wrote_are_percent_or_none(text: str) -> None:
    owner = {"metadata": {"uid": "u"}}
    for said in (text, f'{{"weights": {text}}}'):
        config = {"metadata": {"ownerReferences": [{"uid": "u"}]}, "data": {"weights.json": said}}
        found = read_requested(config, owner)
        assert found is None or all(0 <= weight <= 100 for weight in found.values())


@pytest.mark.parametrize("asked", ["soon", "", HUGE, "9" * 400, "-1"])
def test_any_note_on_a_router_only_makes_it_be_asked_again(asked: str) -> None:
    world = _retiring()
    name, router = next(iter(world.routers.items()))
    digest = router.synced.partition(".")[0]
    world.routers[name] = replace(router, synced=f"{digest}.{asked}", weights={})
    assert world.tick().patches


# --- records of promotions ------------------------------------------------------------------------
@few
@given(
    st.dictionaries(
        st.sampled_from(["decision", "version", "reason", "message", "time", "verdicts"]),
        json_values,
        min_size=1,
        max_size=6,
    )
)
def test_copies_and_ruins_of_promotions_are_none(data: Dict) -> None:
    world = _retiring()
    expected = read_history("flights", world.records)
    assert expected.records
    record = world.records[-1]
    copied = {**record, "metadata": {**record["metadata"], "name": "a-copy"}}
    ruined = {**copied, "data": {**record["data"], **data}, "revision": 9}
    assert read_history("flights", [*world.records, copied, ruined]) == expected
    read_history("flights", [{**record, "data": {**record["data"], **data}}])


# --- the plugin -----------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["mine", HUGE, DEEP, "[]", '{"signal": null}'])
def test_status_is_drawn_whatever_labels_and_annotations_say(text: str) -> None:
    run = make_run("search-3")
    run["metadata"] |= {
        "labels": {contract.LABEL_TRIAL: text, contract.LABEL_MONITOR: "watch"},
        "annotations": {contract.ANNOTATION_TRIGGER: text},
        "ownerReferences": [{"uid": "u", "controller": True}],
    }
    search = {"metadata": {"name": "search", "uid": "u"}, "spec": {"trials": 1}}
    serving = {"metadata": {"name": "flights", "uid": "d"}, "spec": {}}
    watch = {"metadata": {"name": "watch", "uid": "w"}, "spec": {"deployment": "flights"}}
    drawn = "\n".join(draw(Chain("flights", [search], [run], [], [serving], [watch])))
    assert drawn.count("search-3") == 2
