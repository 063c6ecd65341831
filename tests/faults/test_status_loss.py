"""Every status is erased, in the middle and at the end: what is known is known from elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from faults.admin import Json
from faults.catalogue import SCENARIOS
from faults.losses import MANNERS, EraseStatus, LateRepair, Manner
from faults.many import many
from faults.proxy import Disturbance
from faults.scenarios import GOAL_REACHED, MODEL, PROMOTION, ROLLOUT, Scenario
from faults.trial import Baseline, End, check_rates, disturbed
from faults.world import Ground, World, until
from samples import make_deployment, make_model_version

from everloop import contract

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def erased(
    ground: Ground, scenario: Scenario, wanted: End, manner: Manner, number: int
) -> End:
    """One trial; after the last write if `number` is 0."""
    name = f"ns-{scenario.name}-erased-{manner}-{number}"
    made: list[EraseStatus] = []

    def erase(world: World) -> list[Disturbance]:
        made.append(loss(world, manner, number or math.inf))
        # what is known of it decides whether there is another trial
        late = [LateRepair(made[0], "search-1")] if scenario is GOAL_REACHED else []
        return [*made, *late]

    async def now(_: World) -> None:
        await made[0].now()

    async def drive(world: World) -> None:
        if not made[0].due:
            await scenario.drive(world)

    patient = replace(scenario, drive=drive)
    end = await disturbed(
        ground, patient, name, wanted, disturb=erase, in_the_end=None if number else now
    )
    check_rates(name, wanted, end)
    return end


def loss(world: World, manner: Manner, number: float = math.inf) -> EraseStatus:
    """Of all that its operator works on."""
    return EraseStatus(world.admin, world.operator, world.namespace, manner, number)


@pytest.mark.timeout(1200)
async def test_same_end(ground: Ground, baseline: Baseline) -> None:
    """The end is the same, statuses and counts included, and nothing is made again.

    In the middle the two manners take turns, in one scenario the other way round than in the next.
    """

    async def in_scenario(scenario: Scenario, turn: int) -> None:
        wanted = await baseline(scenario)
        last = [(manner, 0) for manner in MANNERS] if _statuses(wanted) else []
        middle = [(MANNERS[(turn + part) % 2], wanted.fewest * part // 5) for part in range(1, 5)]
        await many(erased(ground, scenario, wanted, *moment) for moment in (*last, *middle))

    scenarios = (*SCENARIOS, GOAL_REACHED)
    await many(in_scenario(scenario, turn) for turn, scenario in enumerate(scenarios))


def _statuses(end: End) -> bool:
    """Whether there is anything left that has one."""
    ours = f".{contract.GROUP}"
    return any(
        "status" in item for name, item in end.state.items() if name.split()[0].endswith(ours)
    )


def _slow_rollout(namespace: str) -> list[Json]:
    """Its first step takes seconds, so that it can be seen."""
    steps = [{"pause": {"duration": "1h"}}, {"weight": 20}, {"analysis": {}}, {"weight": 100}]
    rollout = ROLLOUT | {"steps": steps}
    return [
        make_model_version(MODEL, 1, namespace),
        make_deployment(MODEL, namespace, modelName=MODEL, rollout=rollout),
    ]


async def test_a_rollout_in_flight_begins_at_its_first_step(
    ground: Ground, baseline: Baseline
) -> None:
    """And promotes in the end, once."""
    scenario = replace(PROMOTION, name="slow-promotion", setup=_slow_rollout)
    wanted = await baseline(scenario)

    made: list[EraseStatus] = []

    def erase(world: World) -> list[EraseStatus]:
        made.append(loss(world, "paused"))
        return made

    async def erase_in_the_analysis(world: World) -> None:
        async def at(step: int) -> bool:
            status = (world.get("deployments", MODEL) or {}).get("status") or {}
            return bool(status.get("step") == step)

        await until(lambda: at(2), 90, "no analysis")
        await made[0].now()
        await until(lambda: at(0), 30, "the rollout does not begin again")

    name = f"ns-{scenario.name}-erased"
    end = await disturbed(
        ground, scenario, name, wanted, disturb=erase, meanwhile=erase_in_the_analysis
    )
    check_rates(name, wanted, end)
