"""Rollouts, ticked on a small cluster: who gets traffic, who becomes champion, who never does."""

from __future__ import annotations

import pytest
from deployment_world import ROLLOUT, World, make_deployment, rolling

from everloop.settings import Settings

V1, V2, V3 = "flights-v1", "flights-v2", "flights-v3"


def challenged(**fields: object) -> World:
    """flights-v2 is ready and gets its first weight."""
    world = rolling(**fields)
    world.register(2)
    world.tick()
    world.ready(V2)
    world.run(2)
    return world


def test_first_version_is_champion_only_once_it_is_ready_and_has_the_traffic() -> None:
    world = World(make_deployment(rollout=ROLLOUT))
    world.tick()
    assert world.condition("Ready")["reason"] == "NoChampion"
    world.register(1)
    world.tick()
    world.start_routers()
    world.tick()
    assert world.weights == {}
    assert world.status.champion is None
    world.ready(V1)
    world.tick()
    assert world.weights == {V1: 100}
    assert world.status.champion is None, "asked for is not in force"
    world.run(3)
    assert world.status.champion == V1
    assert world.condition("Ready")["status"] == "True"
    assert [record["data"]["reason"] for record in world.records] == ["FirstVersion"]
    assert world.status.traffic[0].weight == 100
    assert "Promoted: flights-v1 is champion (FirstVersion: the first version of flights here)" in (
        world.events
    )


def test_a_good_challenger_goes_through_all_steps_and_replaces_the_champion() -> None:
    world = challenged()
    assert world.weights == {V1: 90, V2: 10}
    assert (world.status.challenger, world.status.step) == (V2, 1)
    world.answer(V2, 300, 0)
    world.tick(minutes=1)
    assert (world.status.step, world.weights) == (2, {V1: 90, V2: 10}), "first what was passed"
    world.tick()
    assert world.weights == {V1: 50, V2: 50}
    assert world.status.verdicts[0].verdict == "Pass"
    assert world.status.verdicts[0].samples == 300
    world.run(2)
    assert world.status.step == 3
    world.run(1, minutes=9)
    assert world.status.champion == V1, "the pause is not over"
    world.run(3, minutes=2)
    assert world.status.champion == V2
    assert world.weights == {V2: 100}
    assert world.condition("Reconciling")["status"] == "False"
    world.run(3, seconds=20)
    assert set(world.servers) == {V2}, "the old champion is gone after the drain"
    assert [event.partition(":")[0] for event in world.events] == [
        *["StepStarted"] * 4,
        "Promoted",
    ]
    assert world.status.verdicts[0].verdict == "Pass", "verdicts of the last rollout stay"


def test_a_challenger_with_all_the_traffic_is_still_on_trial_and_the_deployment_is_ready() -> None:
    world = challenged(spec={})
    world.edit(rollout={**ROLLOUT, "steps": [{"weight": 100}, {"analysis": {}}]})
    world.run(3)
    assert world.weights == {V2: 100}
    assert (world.status.champion, world.status.step) == (V1, 1)
    assert world.condition("Ready")["status"] == "True"
    assert world.status.phase == "RollingOut"
    assert V1 in world.servers, "to come back to"
    world.crash(V2)
    world.run(1)
    assert world.weights == {V1: 100}
    assert world.condition("Ready")["status"] == "True"
    world.ready(V2)
    world.run(3)
    world.answer(V2, 300, 0)
    world.run(3)
    assert world.status.champion == V2


def test_weight_moves_only_to_servers_that_are_ready_and_reached() -> None:
    world = rolling()
    world.register(2)
    world.run(3)
    assert world.weights == {V1: 100}
    assert world.condition("Ready")["status"] == "True"
    servers = world.servers
    world.servers = {**servers, V2: servers[V1].__class__(V2, 2, "uid-2", "uid-s2", ready=1)}
    world.run(2)
    assert world.weights == {V1: 100}, "no router reaches it yet"
    assert (
        "waiting for the routers to reach flights-v2" in world.condition("Reconciling")["message"]
    )
    world.reach()
    world.run(1)
    assert world.weights == {V1: 90, V2: 10}


def test_a_bad_challenger_goes_back_to_weight_0_and_stays_rejected() -> None:
    world = challenged()
    world.answer(V2, 200, 60)
    world.tick(minutes=1)
    assert world.weights == {V1: 100}, "traffic goes back in the same pass"
    world.run(2)
    assert world.status.challenger is None
    assert [item.model_version for item in world.status.rejected] == [V2]
    assert world.status.rejected[0].reason == "AnalysisFailed"
    assert "60 of 200 requests failed" in world.status.rejected[0].message
    assert world.status.verdicts[0].verdict == "Fail"
    world.run(4, seconds=20)
    assert set(world.servers) == {V1}
    assert world.weights == {V1: 100}
    assert world.condition("Ready")["status"] == "True"
    assert sum(event.startswith("Rejected") for event in world.events) == 1


def test_a_rejected_version_stays_rejected_when_the_deployment_is_applied_again() -> None:
    world = challenged()
    world.answer(V2, 200, 60)
    world.run(3, minutes=1)
    again = World(world.deployment, versions=world.versions, records=world.records)
    again.lose_status()
    again.tick()
    again.start_routers()
    again.ready(V1)
    again.run(4)
    assert again.status.champion == V1
    assert again.status.challenger is None
    assert [item.model_version for item in again.status.rejected] == [V2]


def test_the_same_bytes_under_another_name_are_rejected_too() -> None:
    world = challenged()
    world.answer(V2, 200, 60)
    world.run(3, minutes=1)
    copy = world.versions[V2].to_dict()
    copy["metadata"]["name"] = V3
    copy["spec"]["version"] = 3
    world.versions[V3] = type(world.versions[V2]).model_validate(copy)
    world.run(3)
    assert world.status.challenger is None


def test_a_stale_cache_does_not_start_a_rejected_challenger_again() -> None:
    world = challenged()
    world.answer(V2, 200, 60)
    world.hide_new_records = True
    world.tick(minutes=1)
    world.answer(V2, 200, 60)
    world.sync()
    world.tick(seconds=1)
    assert world.weights == {V1: 100} or world.status.step == 1
    assert len({item["metadata"]["name"] for item in world._hidden}) <= 1
    world.hide_new_records = False
    world.show_records()
    world.run(3)
    assert world.weights == {V1: 100}
    assert len(world.records) == 2


def test_a_newer_version_replaces_the_challenger_and_is_not_promoted_unvalidated() -> None:
    world = challenged()
    world.answer(V2, 300, 0)
    world.tick(minutes=1)
    world.run(2)
    assert world.status.step == 3
    world.register(3)
    world.tick()
    assert (world.status.challenger, world.status.step) == (V3, 0)
    assert world.weights == {V1: 100}
    assert world.status.verdicts is None
    world.run(5, minutes=1)
    assert world.status.champion == V1
    assert world.status.challenger == V3
    assert V2 not in world.servers, "the replaced challenger is removed"
    world.ready(V3)
    world.run(2)
    assert world.weights == {V1: 90, V3: 10}


def test_ready_is_false_while_the_champion_crash_loops_and_comes_back() -> None:
    world = rolling()
    world.crash(V1, "CrashLoopBackOff DigestMismatch: 2 files differ")
    world.tick()
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ChampionNotReady")
    assert "DigestMismatch" in ready["message"]
    assert world.weights == {V1: 100}, "nothing is gained by moving"
    world.ready(V1)
    world.run(1)
    assert world.condition("Ready")["status"] == "True"


def test_a_challenger_takes_over_while_the_champion_is_down_and_the_analysis_begins_again() -> None:
    world = challenged()
    world.answer(V2, 90, 0)
    world.tick(minutes=1)
    world.crash(V1)
    world.tick(seconds=1)
    assert world.weights == {V2: 100}
    assert world.status.champion == V1
    assert world.condition("Ready")["status"] == "False"
    world.sync()
    world.tick(seconds=1)
    assert world.status.step_started is None
    world.ready(V1)
    world.run(2, seconds=5)
    assert world.weights == {V1: 90, V2: 10}
    assert world.status.step == 1
    assert world.status.step_started is not None


def test_too_few_samples_hold() -> None:
    world = challenged()
    world.answer(V2, 99, 99)
    world.run(3, minutes=5)
    assert world.status.step == 1
    assert world.status.verdicts is None
    world.answer(V2, 100, 99)
    world.run(2, minutes=5)
    assert world.status.rejected[0].model_version == V2


@pytest.mark.parametrize("policy", ["Hold", "Reject"])
def test_no_answer_in_time_is_inconclusive(policy: str) -> None:
    analysis = {**ROLLOUT["analysis"], "maxDuration": "1h", "onInconclusive": policy}
    world = challenged()
    world.edit(rollout={**ROLLOUT, "analysis": analysis})
    world.answer(V2, 50, 0)
    world.run(1, minutes=59)
    assert world.status.verdicts is None
    world.run(3, minutes=2)
    assert world.status.verdicts[0].verdict == "Inconclusive"
    assert world.status.verdicts[0].samples == 50
    if policy == "Hold":
        assert world.status.step == 1
        world.answer(V2, 60, 0)
        before = world.deployment.status
        world.run(1, minutes=1)
        assert world.deployment.status == before, "counting on writes no status"
        world.answer(V2, 400, 0)
        world.run(1, minutes=1)
        assert world.status.step > 1
    else:
        assert world.status.rejected[0].reason == "Inconclusive"
        assert world.weights == {V1: 100}


def test_without_prometheus_an_analysis_is_inconclusive_at_once_and_holds() -> None:
    world = challenged(prometheus=False)
    world.run(1)
    verdict = world.status.verdicts[0]
    assert (verdict.verdict, verdict.message) == ("Inconclusive", "no Prometheus")
    assert world.status.step == 1


def test_a_prometheus_that_is_away_for_a_while_holds_without_a_verdict() -> None:
    world = challenged()
    world.problem = "no answer from http://prometheus:9090"
    world.run(2, minutes=1)
    assert world.status.verdicts is None
    assert "no answer from http://prometheus" in world.condition("Reconciling")["message"]


def test_suspend_holds_the_step_and_keeps_the_traffic() -> None:
    world = challenged()
    world.edit(rollout=ROLLOUT, suspend=True)
    world.answer(V2, 300, 300)
    world.register(3)
    world.run(3, minutes=30)
    assert (world.status.challenger, world.status.step) == (V2, 1)
    assert world.weights == {V1: 90, V2: 10}
    assert world.condition("Suspended")["status"] == "True"
    assert world.condition("Ready")["status"] == "True"


def test_a_challenger_that_never_gets_ready_is_rejected_in_its_own_words() -> None:
    world = rolling()
    world.register(2)
    world.tick()
    world.crash(V2, "ImagePullBackOff")
    world.run(1, minutes=9)
    assert world.status.challenger == V2
    world.run(3, minutes=2)
    assert world.status.rejected[0].reason == "NotReady"
    assert world.status.rejected[0].message == "not ready within 10m: ImagePullBackOff"
    assert world.weights == {V1: 100}


def test_loss_of_status_keeps_champion_and_rejections_and_begins_the_rollout_again() -> None:
    world = challenged()
    world.answer(V2, 300, 0)
    world.tick(minutes=1)
    assert world.status.step == 2
    world.lose_status()
    world.tick()
    assert world.status.champion == V1
    assert (world.status.challenger, world.status.step) == (V2, 1)
    assert world.weights == {V1: 90, V2: 10}
    assert world.status.verdicts is None
    world.run(3, minutes=30)
    assert world.status.champion == V1, "what was validated before is validated again"


def test_the_champion_serves_on_without_its_modelversion() -> None:
    world = rolling()
    del world.versions[V1]
    made = world.tick()
    names = [child.manifest["metadata"]["name"] for child in made.children]
    assert V1 in names, "its servers are still looked after"
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("True", "ModelVersionMissing")


@pytest.mark.parametrize("verdict", ["Inconclusive", "Fail"])
def test_a_version_whose_gates_did_not_pass_is_no_challenger(verdict: str) -> None:
    world = rolling()
    world.register(2, verdict=verdict)
    world.run(2)
    assert world.status.challenger is None


def test_an_older_version_is_no_challenger() -> None:
    world = World(make_deployment(rollout=ROLLOUT))
    world.register(2)
    world.tick()
    world.start_routers()
    world.ready(V2)
    world.run(4)
    world.register(1)
    world.run(2)
    assert (world.status.champion, world.status.challenger) == (V2, None)


def test_steps_taken_away_by_an_edit_are_not_steps_passed() -> None:
    world = challenged()
    world.answer(V2, 300, 0)
    world.tick(minutes=1)
    world.run(2)
    assert world.status.step == 3
    world.edit(rollout={**ROLLOUT, "steps": [{"weight": 5}, {"analysis": {}}]})
    world.run(2)
    assert world.status.champion == V1
    assert world.status.step == 1
    assert world.weights == {V1: 95, V2: 5}


def test_accelerated_time_shortens_steps_and_says_so() -> None:
    settings = Settings(clock_speedup=60, scrape_interval_seconds=1)
    world = challenged(settings=settings)
    assert "(clock x60)" in world.condition("Reconciling")["message"]
    world.answer(V2, 300, 0)
    world.run(3, seconds=1)
    assert world.status.step == 3
    world.run(1, seconds=8)
    assert world.status.step == 3
    world.run(3, seconds=2)
    assert world.status.champion == V2, "10 minutes are 10 seconds"


def test_nothing_changes_at_rest() -> None:
    world = rolling()
    world.run(2)
    before = (world.deployment, world.conditions)
    made = world.tick(hours=5)
    assert (world.deployment, world.conditions) == before
    assert made.requeue_at is None
    assert made.events == ()
