"""From the release before to this one: what serves goes on, and so does work."""

from __future__ import annotations

from samples import make_deployment, make_training_run

from faults.admin import Json
from faults.scenarios import GATES, MODEL, Scenario, champion, complete, registered
from faults.world import World


def _run(name: str, namespace: str) -> Json:
    return make_training_run(name, namespace, modelName=MODEL, gates=GATES)


def _a_first_version(namespace: str) -> list[Json]:
    """A run, and a Deployment that waits for what comes of it."""
    versions = [{"modelVersion": f"{MODEL}-v1", "weight": 100}]
    deployment = make_deployment(MODEL, namespace, modelName=MODEL, versions=versions)
    del deployment["spec"]["rollout"]
    return [_run(f"{MODEL}-a", namespace), deployment]


def _before(world: World) -> None:
    """The release before begins."""
    world.operator.zygote = world.ground.before


async def _upgrade(world: World) -> None:
    """Once the first version serves; then there is a second run."""
    if champion(world) == f"{MODEL}-v1" and world.operator.upgrade(world.ground.zygote):
        await world.create(_run(f"{MODEL}-b", world.namespace))


def _goes_on(world: World) -> bool:
    return complete(world, "trainingruns", f"{MODEL}-b") and registered(world, 2)


UPGRADE = Scenario("upgrade", _a_first_version, _goes_on, _upgrade, _before)
