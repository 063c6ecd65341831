"""The operator of the release before begins, this one goes on: the same end, and nothing twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from faults.catalogue import SCENARIOS
from faults.disturbances import MOMENTS, Moment, Upgrade
from faults.operators import Zygote
from faults.scenarios import Scenario
from faults.trial import Baseline, End, disturbed, many
from faults.world import Ground, World
from previous import unpack

pytestmark = pytest.mark.asyncio(loop_scope="session")
STEPS = 6  # an upgrade after each sixth of the writes


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's sources in the release before."""
    return unpack(tmp_path_factory.mktemp("previous"), "operator") / "operator"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def previous(sources: Path) -> AsyncIterator[Zygote]:
    """Starts operators of the release before."""
    zygote = Zygote(sources)
    await zygote.start()
    yield zygote
    await zygote.stop()


async def upgraded(
    ground: Ground,
    scenario: Scenario,
    wanted: End,
    previous: Zygote,
    at: tuple[int, Moment],
) -> End:
    """One trial."""
    number, moment = at

    def upgrade(world: World) -> list[Upgrade]:
        world.operator.zygote = previous
        return [Upgrade(world.operator, number, moment, ground.zygote)]

    name = f"ns-{scenario.name}-upgraded-{number}"
    return await disturbed(ground, scenario, name, wanted, disturb=upgrade)


@pytest.mark.timeout(1200)
async def test_same_end(ground: Ground, baseline: Baseline, previous: Zygote) -> None:
    """At several moments of every scenario."""

    async def in_scenario(scenario: Scenario) -> None:
        wanted = await baseline(scenario)
        moments = [
            (max(wanted.fewest * step // STEPS, 1), MOMENTS[step % len(MOMENTS)])
            for step in range(STEPS)
        ]
        await many(upgraded(ground, scenario, wanted, previous, moment) for moment in moments)

    await many(in_scenario(scenario) for scenario in SCENARIOS)
