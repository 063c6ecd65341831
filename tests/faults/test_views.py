"""What the operator is shown is old, partial or late: the same end, and nothing twice."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

import pytest
import pytest_asyncio
from faults.catalogue import SCENARIOS
from faults.deletions import DELETIONS
from faults.disturbances import Kill
from faults.many import Ahead, asked, many
from faults.proxy import Disturbance
from faults.scenarios import Scenario
from faults.trial import Baseline, End, check_rates, disturbed
from faults.views import DelayedWatches, FrozenWatches, LaggingView, LostDeletions
from faults.world import Ground, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
View = Callable[[World, int], Sequence[Disturbance]]
LAG_SECONDS = 4.0
EVERY = bool(os.environ.get("EVERLOOP_VIEWS_AT_EVERY_WRITE"))  # takes a quarter of an hour
LAST = 0.75  # of the fewest writes: after the last ones there may be nothing more to see late


def frozen(world: World, number: int) -> Sequence[Disturbance]:
    return [FrozenWatches(number, LAG_SECONDS)]


def delayed(world: World, number: int) -> Sequence[Disturbance]:
    return [DelayedWatches(1.0)]


def deletions_lost(world: World, number: int) -> Sequence[Disturbance]:
    return [LostDeletions(LAG_SECONDS)]


def lagging(world: World, number: int) -> Sequence[Disturbance]:
    """A restarted operator begins with what was, and hears late of what is."""
    kill = Kill(world.operator, number, "after")
    return [LaggingView(world.admin, LAG_SECONDS, kill), kill]


VIEWS: tuple[View, ...] = (frozen, delayed, deletions_lost, lagging)


async def seen(ground: Ground, scenario: Scenario, wanted: End, view: View, number: int) -> End:
    """One trial."""
    name = f"ns-{scenario.name}-{view.__name__.replace('_', '-')}-{number}"
    end = await disturbed(ground, scenario, name, wanted, disturb=lambda world: view(world, number))
    check_rates(name, wanted, end)
    return end


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def in_every_scenario(
    ground: Ground, baseline: Baseline, request: pytest.FixtureRequest
) -> Callable[[View], Awaitable[None]]:
    """All trials of a view, begun early, in the middle and late; then those of the next."""

    async def find(view: View) -> None:
        await many(in_scenario(ground, baseline, scenario, view) for scenario in SCENARIOS)

    return Ahead(asked(request, "view"), find).get


async def in_scenario(ground: Ground, baseline: Baseline, scenario: Scenario, view: View) -> None:
    wanted = await baseline(scenario)
    if view is deletions_lost and not wanted.deletions:
        assert scenario not in DELETIONS, f"{scenario.name}: nothing is deleted"
        return
    await many(
        seen(ground, scenario, wanted, view, number)
        for number in moments(wanted, once=view in (delayed, deletions_lost))
    )


def moments(wanted: End, *, once: bool) -> list[int]:
    """The writes at which a view goes wrong; the first is the start's, before there is a watch."""
    if EVERY and not once:
        return [*range(2, round(wanted.fewest * LAST) + 1)]
    parts = (1,) if once else (1, 2, 3)
    return [max(wanted.fewest * part // 4, 2) for part in parts]


@pytest.mark.parametrize("view", VIEWS, ids=[view.__name__ for view in VIEWS])
@pytest.mark.timeout(1200)
async def test_same_end(in_every_scenario: Callable[[View], Awaitable[None]], view: View) -> None:
    await in_every_scenario(view)
