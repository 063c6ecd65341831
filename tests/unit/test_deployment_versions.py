"""`spec.versions`: every live version by hand or from git, with weights that wait for servers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deployment_world import ROLLOUT, World, make_deployment

from everloop import contract
from everloop.plans.plan import Patch, Plan

V1, V2, V3 = "flights-v1", "flights-v2", "flights-v3"


def listing(**weights: int) -> list[dict[str, Any]]:
    return [{"modelVersion": f"flights-{name}", "weight": w} for name, w in weights.items()]


def serving(**weights: int) -> World:
    """All listed versions are ready and have their weights."""
    world = World(make_deployment(versions=listing(**weights)))
    world.register(*(int(name[1:]) for name in weights))
    world.tick()
    world.start_routers()
    world.ready(*(f"flights-{name}" for name in weights))
    world.run(3)
    return world


def test_listed_versions_get_their_weights_and_the_heaviest_is_champion() -> None:
    world = serving(v1=10, v2=90)
    assert world.weights == {V1: 10, V2: 90}
    assert world.status.champion == V2
    assert [(share.model_version, share.weight, share.role) for share in world.status.traffic] == [
        (V2, 90, "Champion"),
        (V1, 10, "Listed"),
    ]
    assert world.status.phase == "Serving"
    assert world.status.url == "http://flights.ml.svc/v2/models/flights/infer"


def test_of_equal_weights_the_first_is_champion() -> None:
    assert serving(v2=50, v1=50).status.champion == V2


def test_at_first_only_versions_that_are_ready_get_traffic() -> None:
    world = World(make_deployment(versions=listing(v1=90, v2=10)))
    world.register(1, 2)
    world.tick()
    world.start_routers()
    assert world.weights == {}
    world.ready(V1)
    world.run(1)
    assert world.weights == {V1: 100}
    world.run(2)
    assert world.condition("Ready")["status"] == "True"
    assert "waiting for the servers of flights-v2" in world.condition("Reconciling")["message"]
    world.ready(V2)
    world.run(1)
    assert world.weights == {V1: 90, V2: 10}


def test_old_weights_stay_until_the_new_version_is_ready_then_the_old_servers_drain() -> None:
    world = serving(v1=100)
    world.register(2)
    world.edit(versions=listing(v2=100))
    world.run(3)
    assert world.weights == {V1: 100}
    assert world.status.champion == V1
    assert world.condition("Ready")["status"] == "True"
    world.ready(V2)
    world.tick()
    assert world.weights == {V2: 100}
    world.tick(seconds=60)
    assert V1 in world.servers, "its weight is still in force at the routers"
    world.sync()
    world.tick()
    assert world.servers[V1].retired_at is not None
    world.tick(seconds=10)
    assert V1 in world.servers, "what is in flight is let finish"
    made = world.tick(seconds=6)
    assert V1 not in world.servers
    assert {deletion.kind for deletion in made.deletions} == {"Deployment", "Service"}
    assert world.status.champion == V2


def test_a_version_that_is_listed_again_while_it_drains_stays() -> None:
    world = serving(v1=50, v2=50)
    world.edit(versions=listing(v1=100))
    world.run(2)
    assert world.servers[V2].retired_at is not None
    world.edit(versions=listing(v1=50, v2=50))
    world.run(2, seconds=20)
    assert world.servers[V2].retired_at is None
    assert world.weights == {V1: 50, V2: 50}


def test_nothing_is_removed_while_routers_do_not_answer() -> None:
    world = serving(v1=50, v2=50)
    world.edit(versions=listing(v1=100))
    world.run(1)
    mute(world)
    world.tick(seconds=60)
    world.tick(seconds=60)
    assert V2 in world.servers


def test_a_lost_status_and_routers_that_do_not_answer_leave_the_champion() -> None:
    """Else the Monitors of this Deployment would drop their rules, and every alert its time."""
    world = serving(v1=10, v2=90)
    world.lose_status()
    mute(world)
    world.tick()
    assert world.status.champion == V2


def mute(world: World) -> None:
    world.routers = {
        name: type(router)(name, router.uid, problem="no route to host")
        for name, router in world.routers.items()
    }


def test_a_version_that_loses_its_servers_gives_its_share_to_the_others_and_gets_it_back() -> None:
    world = serving(v1=90, v2=10)
    world.crash(V1, "OOMKilled")
    world.run(1)
    assert world.weights == {V2: 100}
    ready = world.condition("Ready")
    assert ready["reason"] == "ChampionNotReady"
    assert "its traffic goes to flights-v2" in ready["message"] or "OOMKilled" in ready["message"]
    world.ready(V1)
    world.run(2)
    assert world.weights == {V1: 90, V2: 10}
    assert world.status.champion == V1


def test_a_version_that_appears_late_is_waited_for_by_name() -> None:
    world = serving(v1=100)
    world.edit(versions=listing(v1=50, v2=50))
    world.run(2)
    assert world.weights == {V1: 100}
    assert world.condition("Reconciling")["message"] == "flights-v2 is not a ModelVersion here"
    world.register(2)
    world.tick()
    world.ready(V2)
    world.run(2)
    assert world.weights == {V1: 50, V2: 50}


def test_a_version_of_another_model_stalls_and_changes_nothing() -> None:
    world = serving(v1=100)
    world.register(9, model="taxis")
    world.edit(versions=[*listing(v1=50), {"modelVersion": "taxis-v9", "weight": 50}])
    world.run(2, seconds=30)
    assert world.condition("Stalled")["reason"] == "InvalidSpec"
    assert "list versions of flights only" in world.condition("Stalled")["message"]
    assert world.weights == {V1: 100}
    assert set(world.servers) == {V1}


def test_no_replicas_say_so_and_keep_the_weights() -> None:
    world = serving(v1=100)
    world.edit(versions=listing(v1=100), runtime={"replicas": 0})
    world.ready(V1, replicas=0)
    world.run(2)
    assert world.condition("Ready")["reason"] == "ScaledToZero"
    assert world.weights == {V1: 100}


def test_from_a_list_to_a_rollout_the_champion_stays_and_the_next_one_is_validated() -> None:
    world = serving(v1=100)
    world.register(2)
    world.edit(rollout=ROLLOUT)
    world.run(1)
    assert (world.status.champion, world.status.challenger) == (V1, V2)
    assert world.weights == {V1: 100}


def test_two_routers_that_differ_are_no_weights_in_force() -> None:
    world = serving(v1=90, v2=10)
    world.start_routers(2)
    world.edit(versions=listing(v1=50, v2=50))
    world.tick()
    world.routers["router-0"] = type(world.routers["router-0"])(
        "router-0", "uid-router-0", weights={V1: 50, V2: 50}, healthy=frozenset({V1, V2})
    )
    world.tick(seconds=1)
    assert [share.weight for share in world.status.traffic] == [90, 10], "as they last agreed"
    world.sync()
    world.tick(seconds=1)
    assert [share.weight for share in world.status.traffic] == [50, 50]


def test_router_pods_are_pointed_at_a_changed_config_until_they_follow() -> None:
    world = serving(v1=90, v2=10)
    made = world.tick()
    (patch,) = made.patches
    assert patch.manifest["metadata"]["uid"] == "uid-router-0"
    pointed(world, patch)
    assert world.tick(seconds=60).patches == (), "it does what it was asked for"
    world.edit(versions=listing(v1=50, v2=50))
    (patch,) = world.tick().patches
    pointed(world, patch)
    assert world.tick(seconds=1).patches == (), "it is given time"
    (again,) = world.tick(seconds=3).patches
    assert sync(again).partition(".")[0] == sync(patch).partition(".")[0]
    assert sync(again) != sync(patch), "the kubelet may have looked too early"
    pointed(world, again)
    world.sync()
    assert world.tick(seconds=10).patches == ()


def test_nothing_that_changes_with_the_weights_is_in_a_template() -> None:
    world = serving(v1=90, v2=10)
    before = templates(world.tick())
    world.edit(versions=listing(v1=50, v2=50))
    assert templates(world.tick()) == before


def sync(patch: Patch) -> str:
    return str(patch.manifest["metadata"]["annotations"][contract.ANNOTATION_SYNC])


def pointed(world: World, patch: Patch) -> None:
    """The annotation is on the router's pod."""
    name = patch.manifest["metadata"]["name"]
    world.routers[name] = replace(world.routers[name], synced=sync(patch))


def templates(made: Plan) -> list[Any]:
    deployments = [item.manifest for item in made.children if item.manifest["kind"] == "Deployment"]
    return [manifest["spec"]["template"] for manifest in deployments]


def test_what_is_half_deleted_is_not_made_whole_again() -> None:
    """The deletion of a version's servers was seen, that of its Service not yet."""
    world = serving(v1=10, v2=90)
    world.edit(versions=listing(v2=100))
    world.run(3)
    world.servers[V1] = replace(world.servers[V1], uid=None, retired_at=None, ready=0)
    made = world.tick()
    names = [child.manifest["metadata"]["name"] for child in made.children]
    assert V1 not in names
    assert [(gone.kind, gone.name) for gone in made.deletions] == [("Service", V1)]
