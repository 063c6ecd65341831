"""What the operator is shown is old, partial or late: the same end, and nothing twice."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import pytest
import pytest_asyncio
from faults.catalogue import SCENARIOS
from faults.deletions import DELETIONS
from faults.disturbances import Kill
from faults.many import Ahead, asked, many
from faults.proxy import Disturbance
from faults.rates import bounded, told
from faults.scenarios import ALERT, EXPERIMENT, PROMOTION, Scenario
from faults.trial import Baseline, End, check_rates, disturbed
from faults.views import DelayedWatches, FrozenWatches, LaggingView, LostDeletions
from faults.world import Ground, World

from everloop.handlers.engine_watches import FRESH_SECONDS

log = logging.getLogger("trials")
pytestmark = pytest.mark.asyncio(loop_scope="session")
View = Callable[[World, int], Sequence[Disturbance]]
LAG_SECONDS = 4.0
ALONE_SECONDS = 6.0  # of one kind's watch: longer than what comes of one thing takes
OUTLASTING_SECONDS = FRESH_SECONDS + 6
TAKEN = "are older than our Lease, and taken nevertheless"
WAYS = ("silent", "late")
SCENARIOS_EACH = 4  # in which the watch of each kind is the one that is behind
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


async def one_behind(
    ground: Ground, scenario: Scenario, wanted: End, resource: str, view: str
) -> None:
    """One trial: what one kind's watch tells is older than what all others do."""
    number = wanted.told[resource]
    name = f"ns-{scenario.name}-{resource.partition('.')[0]}-{view}-{number}"
    made = (
        FrozenWatches(number, ALONE_SECONDS, resource)
        if view == "silent"
        else DelayedWatches(ALONE_SECONDS / 2, resource)
    )
    end = await disturbed(ground, scenario, name, wanted, disturb=lambda _: [made])
    check_rates(name, wanted, end)


def spread(ends: Mapping[str, End]) -> Iterator[tuple[str, str]]:
    """Scenario and resource: each resource in some of those in which its watch tells anything."""
    resources = sorted({resource for end in ends.values() for resource in end.told})
    for turn, resource in enumerate(resources):
        names = [name for name, end in ends.items() if resource in end.told]
        count = len(names) if EVERY else min(len(names), SCENARIOS_EACH)
        for part in range(count):
            yield names[(turn + part * len(names) // count) % len(names)], resource


@pytest.mark.timeout(1200)
async def test_one_kind_behind(ground: Ground, baseline: Baseline) -> None:
    """The watch of one kind alone is silent, or late, while the others tell of what follows."""
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    ends = dict(zip(by_name, await asyncio.gather(*map(baseline, SCENARIOS)), strict=True))
    pairs = [*spread(ends)]
    log.info("%d trials, with %s", len(pairs), sorted({resource for _, resource in pairs}))
    await many(
        one_behind(ground, by_name[name], ends[name], resource, view)
        for turn, (name, resource) in enumerate(pairs)
        for view in (WAYS if EVERY else WAYS[turn % 2 :][:1])
    )


async def outlasting(ground: Ground, scenario: Scenario, wanted: End, part: float) -> None:
    """One trial: a restarted operator waits for lists as new as its Lease, and there are none."""
    number = max(round(wanted.fewest * part), 2)
    worlds: list[World] = []

    def lags(world: World) -> Sequence[Disturbance]:
        worlds.append(world)
        kill = Kill(world.operator, number, "after")
        return [LaggingView(world.admin, OUTLASTING_SECONDS, kill), kill]

    name = f"ns-{scenario.name}-outlasting-{number}"
    end = await disturbed(ground, scenario, name, wanted, disturb=lags)
    assert TAKEN in worlds[0].operator.said(), f"{name}: no list was too old for long\n{end.log}"
    # Of each kind it has looked twice a second, which `check_rates` would call far too often.
    assert bounded(end.peaks), f"{name}: {told(end.peaks)}\n{end.log}"


@pytest.mark.timeout(600)
async def test_view_that_lags_for_longer_than_is_waited(ground: Ground, baseline: Baseline) -> None:
    """What is old is taken in the end, else an operator would never begin: the end is the same."""

    async def in_one(scenario: Scenario) -> None:
        wanted = await baseline(scenario)
        await many(outlasting(ground, scenario, wanted, part) for part in (0.4, LAST))

    await many(map(in_one, (ALERT, PROMOTION, EXPERIMENT)))


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
        assert scenario not in DELETIONS.values(), f"{scenario.name}: nothing is deleted"
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
