"""Every status is erased, in the middle and at the end: what is known is known from elsewhere."""

from __future__ import annotations

from functools import partial

import pytest
from faults.catalogue import SCENARIOS
from faults.disturbances import EraseStatus, erase_status
from faults.scenarios import Scenario
from faults.trial import Baseline, End, disturbed, many
from faults.world import Ground, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
every_scenario = pytest.mark.parametrize(
    "scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS]
)


async def erased(ground: Ground, scenario: Scenario, wanted: End, number: int) -> End:
    """One trial; after the last write if `number` is 0."""
    name = f"ns-{scenario.name}-erased-{number}"

    def erase(world: World) -> list[EraseStatus]:
        return [EraseStatus(world.admin, world.namespace, number)]

    async def erase_in_the_end(world: World) -> None:
        await erase_status(world.admin, world.namespace)

    return await disturbed(
        ground,
        scenario,
        name,
        wanted,
        disturb=erase,
        in_the_end=None if number else erase_in_the_end,
    )


@every_scenario
@pytest.mark.timeout(600)
async def test_same_end(ground: Ground, baseline: Baseline, scenario: Scenario) -> None:
    """The end is the same, statuses and counts included, and nothing is made again."""
    wanted = await baseline(scenario)
    numbers = [0, *(wanted.writes * part // 5 for part in range(1, 5))]
    await many([partial(erased, ground, scenario, wanted, number) for number in numbers])
