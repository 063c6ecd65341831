"""What a Monitor's status says of the watch, and which rules it wants."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from monitors import (
    START,
    FakePrometheus,
    World,
    after,
    firing_world,
    make_deployment,
    make_monitor,
    make_version,
)

from everloop import contract
from everloop.api.conditions import find
from everloop.settings import Settings


def test_well() -> None:
    world = World()
    world.load_rules()
    plan = world.step()
    assert _conditions(world) == {
        "Ready": ("True", "Watching"),
        "RulesLoaded": ("True", "Loaded"),
        "TargetsUp": ("True", "Up"),
        "RetentionSufficient": ("True", "Sufficient"),
        "Monitorable": ("True", "Profiled"),
        "Reconciling": ("False", "Watching"),
        "Suspended": ("False", "Active"),
    }
    assert world.status["phase"] == "Watching"
    assert world.status["champion"] == "flights-v1"
    assert plan.requeue_at is None


def _not_loaded(world: World) -> None:
    _prometheus(world).groups = []


def _evaluation_fails(world: World) -> None:
    _prometheus(world).rule_error = "many-to-many matching not allowed"


def _prometheus_down(world: World) -> None:
    _prometheus(world).error = "no answer from http://prometheus"


def _no_prometheus(world: World) -> None:
    world.prometheus = None


def _no_targets(world: World) -> None:
    _prometheus(world).values = []


def _target_down(world: World) -> None:
    world.measure(**{"everloop:targets:down": 1.0})


def _short_retention(world: World) -> None:
    _prometheus(world).retention = 86400.0


def _no_profile(world: World) -> None:
    world.versions = [make_version(profile=None)]


def _no_deployment(world: World) -> None:
    world.deployment = {**world.deployment, "metadata": {"name": "other", "namespace": "ml"}}


def _no_champion(world: World) -> None:
    world.deployment = make_deployment(None)


@pytest.mark.parametrize(
    ("happen", "condition", "reason", "message"),
    [
        (_not_loaded, "RulesLoaded", "NotLoaded", "PrometheusRule flights-watch-rules"),
        (_evaluation_fails, "RulesLoaded", "EvaluationFailed", "many-to-many"),
        (_prometheus_down, "RulesLoaded", "PrometheusUnavailable", "no answer from"),
        (_no_prometheus, "RulesLoaded", "NoPrometheus", "prometheus.url"),
        (_no_targets, "TargetsUp", "NoTargets", "podMonitorSelector"),
        (_target_down, "TargetsUp", "TargetsDown", "do not answer scrapes"),
        (_short_retention, "RetentionSufficient", "RetentionTooShort", "172800s"),
        (_no_profile, "Monitorable", "NoProfile", "reference.parquet"),
        (_no_deployment, "RulesLoaded", "DeploymentNotFound", "(mldep) flights"),
        (_no_champion, "RulesLoaded", "NoChampion", "no champion"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_with_what_to_do(
    happen: Callable[[World], None], condition: str, reason: str, message: str
) -> None:
    world = World()
    world.load_rules()
    happen(world)
    world.step()
    own = find(world.status, condition)
    ready = find(world.status, "Ready")
    assert own is not None
    assert ready is not None
    assert (own["status"] != "True", own["reason"]) == (True, reason)
    assert message in own["message"]
    assert (ready["status"], ready["reason"]) == ("False", reason)


def test_a_run_that_cannot_go_on_is_told() -> None:
    world = firing_world()
    world.step()
    (run,) = world.runs
    refused = {"type": "Stalled", "status": "True", "reason": "Invalid", "message": "no such field"}
    run["status"] = {"observedGeneration": 1, "conditions": [refused]}
    world.step(after(minutes=1))
    assert _conditions(world)["Ready"] == ("False", "RunStalled")
    assert _conditions(world)["Stalled"] == ("True", "RunStalled")
    told = find(world.status, "Ready")
    assert told is not None
    assert run["metadata"]["name"] in told["message"]
    assert "no such field; delete it once that is mended" in told["message"]
    world.finish(run, after(minutes=2), "Failed")
    world.step(after(minutes=3))
    assert _conditions(world)["Ready"] == ("True", "Watching")


def test_without_any_drift_to_watch_profile_and_retention_do_not_matter() -> None:
    world = World(make_monitor(inputs=None, retrain=None))
    _no_profile(world)
    world.load_rules()
    _short_retention(world)
    world.step()
    assert _conditions(world)["Ready"] == ("True", "Watching")


def test_drift_does_not_unset_ready() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    assert _conditions(world)["Ready"] == ("True", "Watching")
    assert world.status["phase"] == "InputDrift"


def test_signals_have_values_of_when_their_state_changed() -> None:
    world = firing_world()
    world.step(after(seconds=1))
    assert world.signal("InputDrift") == {
        "name": "InputDrift",
        "state": "Firing",
        "value": "2.2",
        "bound": "1",
        "samples": 300,
        "top": ["dewp 2.2", "temp 2", "hour 0.4"],
        "since": "2026-01-02T03:00:01Z",
    }
    writes = world.status_writes
    for minute in range(1, 30):
        world.drift({"dewp": 2.0 + minute / 10})
        world.measure(**{"everloop:requests:window": 300.0 + minute})
        world.step(after(minutes=minute))
    assert world.status_writes == writes
    assert world.signal("InputDrift")["value"] == "2.2"


def test_a_signal_without_verdict_is_no_data_and_not_ok() -> None:
    world = World()
    world.load_rules()
    world.verdict("InputDrift", None)
    world.step()
    assert world.signal("InputDrift")["state"] == "NoData"
    assert "value" not in world.signal("InputDrift")
    world.verdict("InputDrift", 0.0)
    world.step(after(seconds=1))
    assert world.signal("InputDrift")["state"] == "OK"


def test_pending_then_firing_then_over() -> None:
    world = World()
    world.load_rules()
    world.step()
    states = []
    for second, state in enumerate(["pending", "firing", None], start=1):
        if state:
            world.alert("ErrorsHigh", START, state)
        else:
            _prometheus(world).alerts.clear()
        world.step(after(seconds=second))
        states.append(world.signal("ErrorsHigh")["state"])
    assert states == ["Pending", "Firing", "OK"]


@pytest.mark.parametrize("happen", [_not_loaded, _prometheus_down], ids=["not-loaded", "down"])
def test_not_being_able_to_look_changes_no_signal(happen: Callable[[World], None]) -> None:
    world = firing_world(retrain=None)
    world.step(after(seconds=1))
    before = world.status["signals"]
    happen(world)
    world.step(after(seconds=2))
    assert world.status["signals"] == before


def test_rules_not_evaluated_yet_say_nothing() -> None:
    world = World()
    world.load_rules()
    _prometheus(world).evaluated = False
    _prometheus(world).values = []
    world.step()
    assert world.signal("InputDrift")["state"] == "NoData"
    assert _conditions(world)["TargetsUp"] == ("Unknown", "NotEvaluated")


def test_rules_follow_the_champion() -> None:
    world = firing_world(retrain=None)
    first = world.step(after(seconds=1)).children[0].manifest
    world.versions.append(make_version(2))
    world.deployment = make_deployment("flights-v2")
    second = world.step(after(seconds=2)).children[0].manifest
    assert first["metadata"]["name"] == second["metadata"]["name"]
    assert "flights-v1" in str(first["spec"])
    assert "flights-v1" not in str(second["spec"])
    assert _conditions(world)["RulesLoaded"] == ("False", "NotLoaded")
    assert world.signal("InputDrift")["state"] == "NoData"


def test_without_prometheus_operator_the_rules_are_a_config_map() -> None:
    world = World()
    world.step()
    assert [item["kind"] for item in world.owned] == ["PrometheusRule"]
    world.absent_kinds = frozenset({"monitoring.coreos.com/v1 PrometheusRule"})
    plan = world.step(after(seconds=1))
    assert plan.children[0].manifest["kind"] == "ConfigMap"
    assert [(item.kind, item.uid) for item in plan.deletions] == [
        ("PrometheusRule", "uid-flights-watch-rules")
    ]


def test_rules_go_when_there_is_no_champion_to_follow() -> None:
    world = World()
    world.step()
    world.deployment = make_deployment(None)
    plan = world.step(after(seconds=1))
    assert plan.children == ()
    assert [item.kind for item in plan.deletions] == ["PrometheusRule"]


def test_rules_stay_while_the_deployment_has_lost_its_status() -> None:
    """Alerts would end, and their `for` begin anew, with rules that are gone for a moment."""
    world = World()
    world.step()
    world.deployment = make_deployment(None, observedGeneration=-1)
    assert world.step(after(seconds=1)).deletions == ()


def test_rules_stay_while_only_the_cache_knows_no_champion() -> None:
    """An operator that begins with old lists may see the rules, and a Deployment before them."""
    world = World()
    world.step()
    world.old = {"flights": make_deployment(None)}
    world.hidden = {"flights-v1"}
    assert world.step(after(seconds=1)).deletions == ()
    assert world.status["champion"] == "flights-v1"


def test_asking_again_backs_off_as_long_as_it_has_been_wrong() -> None:
    world = World()
    _prometheus(world).error = "no answer"
    waits, now = [], START
    for _ in range(8):
        plan = world.step(now)
        assert plan.requeue_at is not None
        waits.append((plan.requeue_at - now).total_seconds())
        now = plan.requeue_at
    assert waits == [15, 15, 30, 60, 60, 60, 60, 60]
    assert world.status_writes == 1


def test_an_accelerated_clock_shows() -> None:
    world = World(settings=Settings(prometheus_url="http://x", clock_speedup=8640))
    rules = world.step().children[0].manifest
    assert world.status["clockSpeedup"] == "8640"
    assert rules["metadata"]["annotations"] == {contract.ANNOTATION_CLOCK: "8640"}
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    notes = {rule["annotations"]["clock_speedup"] for rule in alerts if "alert" in rule}
    assert notes == {"8640"}


def _prometheus(world: World) -> FakePrometheus:
    assert world.prometheus is not None
    return world.prometheus


def _conditions(world: World) -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item["reason"]) for item in world.status["conditions"]}
