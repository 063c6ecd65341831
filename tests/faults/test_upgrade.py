"""The operator of the release before begins, this one goes on: the same end, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from faults.admin import Json
from faults.catalogue import SCENARIOS
from faults.disturbances import MOMENTS, Moment, Upgrade
from faults.many import many
from faults.normalise import State
from faults.scenarios import Scenario
from faults.trial import Baseline, End, disturbed, undisturbed
from faults.world import Ground, World
from previous import is_known

pytestmark = pytest.mark.asyncio(loop_scope="session")
STEPS = 4  # an upgrade after each quarter of the writes


def made_once(item: Json) -> bool:
    """Whether it stays as it was made: a run's Jobs, their pods, and its ConfigMaps."""
    owners = item["metadata"].get("ownerReferences") or ()
    return any(owner["kind"] in ("TrainingRun", "Job") for owner in owners)


def without_spent(state: State) -> State:
    """Without the ReplicaSets that a Deployment has rolled away from, which Kubernetes keeps."""
    found = {}
    for name, item in state.items():
        if not name.startswith("replicasets.apps "):
            found[name] = item
        elif item["spec"]["replicas"]:
            found[name.rstrip("'")] = item  # it was the second of its name
    return found


def renewed(state: State, before: State, wanted: State) -> State:
    """The state with what the release before made once as this one would have made it."""
    state = without_spent(state)
    kept = [name for name, item in state.items() if made_once(item) and item == before.get(name)]
    return state | {name: wanted[name] for name in kept if name in wanted}


async def upgraded(
    ground: Ground,
    scenario: Scenario,
    ends: tuple[End, End],
    at: tuple[int, Moment],
) -> End:
    """One trial. `ends` are those of the release before and of this one, by themselves."""
    number, moment = at
    before, wanted = ends

    def upgrade(world: World) -> list[Upgrade]:
        world.operator.zygote = ground.before
        world.translate = lambda state: renewed(state, before.state, wanted.state)
        return [Upgrade(world.operator, number, moment, ground.zygote)]

    name = f"ns-{scenario.name}-upgraded-{number}"
    return await disturbed(ground, scenario, name, wanted, disturb=upgrade)


@pytest.mark.timeout(1200)
@pytest.mark.skipif(not is_known(), reason="no history here to upgrade from")
async def test_same_end(ground: Ground, baseline: Baseline) -> None:
    """At several moments of every scenario."""

    async def in_scenario(scenario: Scenario) -> None:
        wanted = await baseline(scenario)
        name = f"ns-{scenario.name}-before"
        before = await undisturbed(replace(ground, zygote=ground.before), scenario, name)
        moments = [
            (max(wanted.fewest * step // STEPS, 1), MOMENTS[step % len(MOMENTS)])
            for step in range(STEPS)
        ]
        ends = before, wanted
        await many(upgraded(ground, scenario, ends, moment) for moment in moments)

    await many(in_scenario(scenario) for scenario in SCENARIOS)
