"""Killed before, after and in the middle of every write: always the same end, and nothing twice."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio
from faults.catalogue import SCENARIOS
from faults.disturbances import MOMENTS, Kill, Moment
from faults.many import Ahead, asked, many
from faults.scenarios import Scenario
from faults.takeover import LEASE_SECONDS, Takeover
from faults.trial import Baseline, End, disturbed
from faults.world import Ground, World

log = logging.getLogger("trials")
pytestmark = pytest.mark.asyncio(loop_scope="session")
EXTRA_WRITES = 3  # more than undisturbed, for the one kill
# Of the fewest writes, those that every run has: an operator that is short of time sees fewer
# states in between, and writes fewer statuses.
SURE = 0.75
every_scenario = pytest.mark.parametrize(
    "scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS]
)


async def killed(
    ground: Ground, scenario: Scenario, wanted: End, number: int, moment: Moment
) -> End:
    """One trial."""
    name = f"ns-{scenario.name}-{moment}-{number}"

    def kill(world: World) -> list[Kill]:
        return [Kill(world.operator, number, moment)]

    sure = number <= wanted.fewest * SURE
    end = await disturbed(ground, scenario, name, wanted, disturb=kill, sure=sure)
    there = end.happened or end.writes < number
    assert there, f"{name}: there was such a write, and no kill\n{end.log}"
    extra = end.writes - wanted.writes
    assert extra <= EXTRA_WRITES, f"{name}: {extra} writes more than undisturbed\n{end.log}"
    return end


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def at_every_write(
    ground: Ground, baseline: Baseline, request: pytest.FixtureRequest
) -> Callable[[Scenario], Awaitable[str]]:
    """All trials of a scenario; those of the next wait for their turn meanwhile."""

    async def find(scenario: Scenario) -> str:
        wanted = await baseline(scenario)
        ends = await many(
            [
                killed(ground, scenario, wanted, number, moment)
                for number in range(1, wanted.writes + 1)
                for moment in MOMENTS
            ]
        )
        return summary(scenario, wanted, ends)

    return Ahead(asked(request, "scenario"), find).get


@every_scenario
@pytest.mark.timeout(2400)
async def test_every_write(
    at_every_write: Callable[[Scenario], Awaitable[str]], scenario: Scenario
) -> None:
    log.info(await at_every_write(scenario))


@pytest.mark.sample
@pytest.mark.timeout(600)
async def test_some_writes(ground: Ground, baseline: Baseline) -> None:
    """The same three of every scenario, one of each moment."""

    async def some(scenario: Scenario) -> None:
        wanted = await baseline(scenario)
        quarter = wanted.fewest / 4
        ends = await many(
            [
                killed(ground, scenario, wanted, round(quarter * part), moment)
                for part, moment in enumerate(MOMENTS, start=1)
            ]
        )
        log.info(summary(scenario, wanted, ends))

    await many(some(scenario) for scenario in SCENARIOS)


@pytest.mark.timeout(600)
async def test_another_replica_goes_on(ground: Ground, baseline: Baseline) -> None:
    """Two kills of every scenario are followed by a replica that waits for the Lease to run out."""

    async def taken_over(scenario: Scenario, wanted: End, part: float, moment: Moment) -> None:
        number = round(wanted.fewest * part)
        name = f"ns-{scenario.name}-takeover-{moment}-{number}"

        def take_over(world: World) -> list[Takeover]:
            return [Takeover(world.operator, number, moment)]

        end = await disturbed(
            ground, scenario, name, wanted, disturb=take_over, lease_seconds=LEASE_SECONDS
        )
        extra = end.writes - wanted.writes
        assert extra <= EXTRA_WRITES, f"{name}: {extra} writes more than undisturbed\n{end.log}"

    async def in_one(scenario: Scenario) -> None:
        wanted = await baseline(scenario)
        moments: tuple[tuple[float, Moment], ...] = ((0.35, "lost"), (0.7, "after"))
        await many(taken_over(scenario, wanted, *moment) for moment in moments)

    await many(map(in_one, SCENARIOS))


def summary(scenario: Scenario, wanted: End, ends: list[End]) -> str:
    """A line for people."""
    extra = max(end.writes for end in ends) - wanted.writes
    seconds = sum(end.seconds for end in ends) / len(ends)
    kills = sum(end.happened for end in ends)
    return (
        f"{scenario.name}: {kills} kills in {len(ends)} trials, {wanted.fewest} to {wanted.writes} "
        f"writes undisturbed, at most {extra} more; {seconds:.1f} s each"
    )
