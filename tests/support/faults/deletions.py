"""Each kind is deleted in the middle of its work."""

from __future__ import annotations

from faults.admin import Json
from faults.scenarios import (
    MODEL,
    Scenario,
    a_monitor,
    a_rollout,
    a_run,
    an_experiment,
    challenge,
    champion,
    errors_are_high,
    good_challenger,
    phase,
    promoted,
    retrained,
)
from faults.world import World


async def _delete_run(world: World) -> None:
    """While its pod runs, which cannot end."""
    run = world.get("trainingruns", f"{MODEL}-a")
    if run is not None and phase(run) == "Running":
        await world.delete(run)


async def _delete_experiment(world: World) -> None:
    """In its second trial, which was suspended with it."""
    second = world.get("trainingruns", "search-1")
    search = world.get("experiments", "search")
    if search is None or second is None:
        return
    if phase(second) == "Running":
        await world.change(search, {"spec": {"suspend": True}})
    elif phase(second) == "Suspended":
        await world.delete(search)


def _two_servers_each(namespace: str) -> list[Json]:
    """So that drains are told of them, by budgets that come and go with the versions."""
    version, deployment = a_rollout(namespace)
    deployment["spec"]["runtime"] = {"replicas": 2}
    return [version, deployment]


async def _delete_version(world: World) -> None:
    """While it serves: it stays until its rollout has replaced it."""
    await challenge(world)
    version = world.get("modelversions", f"{MODEL}-v1")
    kept = version is not None and version["metadata"].get("finalizers")
    if version is not None and kept and champion(world) == f"{MODEL}-v1":
        await world.delete(version)


async def _delete_deployment(world: World) -> None:
    """In the middle of a rollout that nobody decides."""
    await challenge(world)
    deployment = world.get("deployments", MODEL)
    if ((deployment or {}).get("status") or {}).get("stepStarted"):
        assert deployment is not None
        await world.delete(deployment)


async def _delete_monitor(world: World) -> None:
    """While its run is under way."""
    monitor = world.get("monitors", "watch")
    noted = ((monitor or {}).get("status") or {}).get("lastRetrain")
    decided = world.admin.get("controllerrevisions.apps", world.namespace, "watch-1-1-decision")
    if monitor is not None and noted and decided is not None:
        await world.delete(monitor)


def _run_gone(world: World) -> bool:
    return not world.list("trainingruns") and _nothing_left(world)


def _experiment_gone(world: World) -> bool:
    gone = not world.list("experiments") and not world.list("trainingruns")
    return gone and _nothing_left(world)


def _version_gone(world: World) -> bool:
    return promoted(world) and world.get("modelversions", f"{MODEL}-v1") is None


def _deployment_gone(world: World) -> bool:
    versions = world.list("modelversions")
    free = not any(version["metadata"].get("finalizers") for version in versions)
    return not world.list("deployments") and free and _nothing_left(world)


def _monitor_gone(world: World) -> bool:
    rules = world.admin.list("prometheusrules.monitoring.coreos.com", world.namespace)
    return not rules and not world.list("monitors") and retrained(world)


def _second_trial_hangs(world: World) -> None:
    world.hanging = lambda run: bool(run["metadata"]["name"] == "search-1")


def _hangs(world: World) -> None:
    world.hanging = lambda _: True


DELETIONS = {  # by kind
    "TrainingRun": Scenario("run-deleted", a_run, _run_gone, _delete_run, _hangs),
    "Experiment": Scenario(
        "search-deleted", an_experiment, _experiment_gone, _delete_experiment, _second_trial_hangs
    ),
    "ModelVersion": Scenario(
        "version-deleted", _two_servers_each, _version_gone, _delete_version, good_challenger
    ),
    "Deployment": Scenario("deployment-deleted", a_rollout, _deployment_gone, _delete_deployment),
    "Monitor": Scenario(
        "monitor-deleted", a_monitor, _monitor_gone, _delete_monitor, errors_are_high
    ),
}


def _nothing_left(world: World) -> bool:
    """The garbage collector has taken what was owned."""
    kinds = ("jobs.batch", "deployments.apps", "replicasets.apps", "services", "pods")
    found = [world.admin.list(kind, world.namespace) for kind in kinds]
    return not any(found)
