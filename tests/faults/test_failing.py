"""The API server refuses, hangs and cuts connections: the same end, and no storm meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import pytest
from faults.catalogue import SCENARIOS
from faults.disturbances import WAYS, Failing
from faults.many import many
from faults.rates import bounded, peaks, told
from faults.scenarios import PROMOTION, Scenario
from faults.trial import Baseline, End, disturbed
from faults.world import Ground, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
log = logging.getLogger("trials")
SECONDS = 12.0
AWAY = ("500", "503", "429", "cut")  # at once: who waits for an answer sends nothing else
# Requests that an operator with one model sends when all of them fail: the watches' and the lists'
# one a second each, a worker's one for each backoff, and what Prometheus and the routers wake.
MOST_PER_SECOND = 30.0
MOST_WRITES_PER_SECOND = 5.0


async def failing(
    ground: Ground, scenario: Scenario, wanted: End, share: float, number: int
) -> End:
    """One trial. AssertionError also if there were too many requests meanwhile."""
    name = f"ns-{scenario.name}-failing-{share:.0%}-{number}".replace("%", "")
    made: list[Failing] = []

    def disturb(world: World) -> list[Failing]:
        ways = WAYS if share < 1 else AWAY
        made.append(Failing(number, share=share, seconds=SECONDS, number=number, ways=ways))
        return made

    end = await disturbed(ground, scenario, name, wanted, disturb=disturb)
    met = made[0].met
    rate = len(met) / SECONDS
    writes = sum(call.number is not None for call in met) / SECONDS
    said = f"{name}: {rate:.1f} requests a second, {writes:.1f} writes, {told(peaks(met))}"
    log.info("%s; failed %s", said, dict(made[0].failed))
    assert rate <= MOST_PER_SECOND, f"{said}\n{end.log}"
    assert writes <= MOST_WRITES_PER_SECOND, f"{said}\n{end.log}"
    assert bounded(peaks(met)), f"{said}\n{end.log}"
    return end


async def in_every_scenario(
    ground: Ground,
    baseline: Baseline,
    share: float,
    moments: Callable[[Scenario, End], Iterable[int]],
) -> None:
    """Trials that begin at these writes of each scenario."""

    async def in_one(scenario: Scenario) -> None:
        wanted = await baseline(scenario)
        numbers = moments(scenario, wanted)
        await many(failing(ground, scenario, wanted, share, number) for number in numbers)

    await many(in_one(scenario) for scenario in SCENARIOS)


@pytest.mark.timeout(1200)
async def test_some_requests_fail(ground: Ground, baseline: Baseline) -> None:
    """A quarter of all requests, from early and from the middle on, in every scenario."""
    await in_every_scenario(ground, baseline, 0.25, lambda _, wanted: (2, wanted.fewest // 2))


@pytest.mark.timeout(1200)
async def test_all_requests_fail(ground: Ground, baseline: Baseline) -> None:
    """As when the API server is away: once in each scenario, at four moments of the longest."""

    def moments(scenario: Scenario, wanted: End) -> Iterable[int]:
        parts = range(1, 5) if scenario is PROMOTION else (2,)
        return [max(2, wanted.fewest * part // 5) for part in parts]

    await in_every_scenario(ground, baseline, 1.0, moments)
