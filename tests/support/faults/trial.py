"""Runs one scenario, disturbed or not, to its end, and says how it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from faults import normalise
from faults.proxy import Call, Disturbance
from faults.rates import Peaks, bounded, highest, peaks, told
from faults.scenarios import Scenario
from faults.world import LOOK_SECONDS, Ground, World

log = logging.getLogger("trials")
T = TypeVar("T")
K = TypeVar("K")
DEADLINE_SECONDS = 150.0
QUIET_SECONDS = 1.5  # at rest: nothing is written for so long
PATIENCE_SECONDS = 30.0  # longer than anything that a plan waits for
BASELINES = 6  # undisturbed runs of a scenario: how often they write differs with what coincides
MOST_REQUESTS = 1.5  # times those of an undisturbed run, for each start of an operator
ENOUGH = 5  # failures that are told in full

Hook = Callable[[World], Coroutine[None, None, None]]
Disturb = Callable[[World], Sequence[Disturbance]]


@dataclass
class End:
    """How a run of a scenario ended."""

    state: normalise.State
    writes: int
    fewest: int  # writes: of several runs the least that one needed, else the same
    requests: int  # all but the Lease's; of several runs the most
    peaks: Peaks  # of one thing; of several runs the highest
    starts: int  # of operators
    deletions: frozenset[str]  # resources, that the operator was told of in each of several runs
    # resource → a write after which its watch told of something, in each of several runs
    told: dict[str, int]
    # verb and resource of what the API server did, in any of several runs
    written: frozenset[tuple[str, str]]
    created: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: float = 0.0
    log: str = ""
    happened: bool = True  # everything that should go wrong


def nothing(world: World) -> Sequence[Disturbance]:
    """Nothing goes wrong."""
    return ()


async def undisturbed(ground: Ground, scenario: Scenario, name: str) -> End:
    """How it ends by itself."""
    async with World(ground, name) as world:
        started = time.monotonic()
        await _begin(world, scenario)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await _drive(world, scenario)
                state = await _rest(world)
        except TimeoutError:
            state = await world.live_state()
            raise AssertionError(
                f"{scenario.name} does not end.\n{normalise.difference({}, state)}\n"
                f"{world.explain()}"
            ) from None
        problems = "\n".join(_unsound(world))
        assert not problems, f"{name}: {problems}\n{world.explain()}"
        return _end(world, state, started)


async def disturbed(
    ground: Ground,
    scenario: Scenario,
    name: str,
    wanted: End,
    *,
    disturb: Disturb = nothing,
    sure: bool = True,
    meanwhile: Hook | None = None,
    in_the_end: Hook | None = None,
    **settings: Any,
) -> End:
    """How it ends with something going wrong. AssertionError unless it is the same end.

    With `sure`, what goes wrong has to have gone wrong. `meanwhile` runs beside it from its start,
    `in_the_end` when it is over for the first time; `settings` are the operator's.
    """
    async with World(ground, name, **settings) as world:
        started = time.monotonic()
        disturbances = world.operator.proxy.disturbances = disturb(world)
        await _begin(world, scenario)
        beside = asyncio.create_task(meanwhile(world)) if meanwhile else None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                found = await _course(world, scenario, wanted, beside, in_the_end)
        except TimeoutError:
            late = await _late(world, wanted, beside)
            raise AssertionError(f"{name}: {late}\n{world.explain()}") from None
        finally:
            if beside is not None:
                beside.cancel()
        end = _end(world, found, started)
        end.happened = all(disturbance.happened() for disturbance in disturbances)
        problems = "\n".join(_problems(world, wanted, end, disturbances, sure=sure))
        assert not problems, f"{name}: {problems}\n{world.explain()}"
        return end


async def _course(
    world: World,
    scenario: Scenario,
    wanted: End,
    beside: asyncio.Task[None] | None,
    in_the_end: Hook | None,
) -> normalise.State:
    """All of a trial, to its end."""
    await _drive(world, scenario, beside)
    if beside is not None:
        await beside
    if in_the_end is not None:
        await _rest(world, wanted.state)
        await in_the_end(world)
    return await _rest(world, wanted.state)


async def _late(world: World, wanted: End, beside: asyncio.Task[None] | None) -> str:
    """Why a trial has not ended in time. That it looks as it should is no excuse."""
    seen, found = world.state(), await world.live_state()
    behind = normalise.difference(found, seen)
    if behind:
        return f"the mirror shows otherwise:\n{behind}"
    difference = normalise.difference(wanted.state, found)
    if difference:
        return f"it does not end; so far it is different:\n{difference}"
    rest = "the end is right, but it does not come to rest"
    unfinished = beside is not None and (not beside.done() or beside.cancelled())
    return f"{rest}: what happens beside it has no end" if unfinished else rest


def _problems(
    world: World,
    wanted: End,
    end: End,
    disturbances: Sequence[Disturbance],
    *,
    sure: bool,
) -> Iterator[str]:
    """What is wrong with an end; after the first the others mean little."""
    difference = normalise.difference(wanted.state, end.state)
    if difference:
        yield f"it ends differently:\n{difference}"
    twice = {what: count for what, count in end.created.items() if count > wanted.created[what]}
    if twice:
        yield f"created more often than undisturbed: {twice}"
    for disturbance in disturbances:
        if sure and not disturbance.happened():
            yield f"no {type(disturbance).__name__} happened"
    yield from _unsound(world, disturbances)


def _unsound(world: World, disturbances: Sequence[Disturbance] = ()) -> Iterator[str]:
    """What an operator that comes to rest may hide: that it ended by itself, met a bug, or was
    refused what the chart does not grant.
    """
    restarts = sum(item.restarts for item in disturbances)
    restarts += sum(replica.upgrades for replica in world.replicas)
    foreseen = frozenset().union(*(item.foreseen for item in disturbances))
    starts = {replica.identity: replica.starts for replica in world.replicas}
    if sum(starts.values()) != len(starts) + restarts:
        yield f"started {starts}, with {restarts} times that it had to be started again"
    for replica in world.replicas:
        for line in replica.complaints(foreseen):
            yield f"{replica.identity} says: {line}"
        for call in sorted({str(call) for call in replica.proxy.forbidden}):
            yield f"{replica.identity} lacks a right: {call}"


async def _begin(world: World, scenario: Scenario) -> None:
    scenario.prepare(world)
    for manifest in scenario.setup(world.namespace):
        await world.create(manifest)
    await world.operator.start()


async def _drive(
    world: World, scenario: Scenario, beside: asyncio.Task[None] | None = None
) -> None:
    """Until the scenario is over, or what happens beside it has failed."""
    while True:
        await scenario.drive(world)
        if beside is not None and beside.done():
            beside.result()
        if scenario.done(world):
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _rest(world: World, wanted: normalise.State | None = None) -> normalise.State:
    """The state once everything is settled and nothing has changed for a while.

    That is as wanted, or what undisturbed runs end with, or else for so long that it will stay so.
    """
    state, since, writes = world.state(), time.monotonic(), -1
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if not await world.settled() or len(world.writes) != writes:
            since, writes = time.monotonic(), len(world.writes)
            continue
        quiet = time.monotonic() - since
        if quiet < QUIET_SECONDS:
            continue
        now = world.state()
        if now != state:
            state, since = now, time.monotonic()
        elif quiet > PATIENCE_SECONDS or (
            normalise.at_rest(state)
            and (state == wanted if wanted is not None else not normalise.under_way(state))
        ):
            live = await world.live_state()
            if live == state:
                return state
            since = time.monotonic()


def _end(world: World, state: normalise.State, started: float) -> End:
    writes = world.writes
    seconds = time.monotonic() - started
    count, calls = len(writes), world.calls
    return End(
        state,
        count,
        count,
        len(calls),
        peaks(calls),
        sum(replica.starts for replica in world.replicas),
        frozenset(key for key, count in world.operator.proxy.deletions.items() if count),
        _told(world),
        frozenset((call.verb, call.resource) for call in writes if call.status < 300),
        creations(writes),
        seconds,
        world.explain(),
    )


def _told(world: World) -> dict[str, int]:
    """When a third of what a watch told had been told, and more came later."""
    found = {}
    for resource, numbers in world.operator.proxy.told.items():
        number = max(numbers[len(numbers) // 3], 2)  # the first is of before there is a watch
        if numbers[-1] > number:
            found[resource] = number
    return found


def creations(writes: Sequence[Call]) -> Counter[tuple[str, str]]:
    """How often each object was created; events have new names each time."""
    return Counter(
        (call.resource, call.name)
        for call in writes
        if call.verb == "create" and call.status == 201 and not call.resource.startswith("events")
    )


def check_rates(name: str, wanted: End, end: End) -> None:
    """AssertionError if requests were many: in all, or for one thing."""
    said = f"{name}: {end.requests} requests, {wanted.requests} undisturbed, {told(end.peaks)}"
    log.info("%s", said)
    most = MOST_REQUESTS * wanted.requests * end.starts
    assert end.requests <= most, f"{said}\n{end.log}"
    assert bounded(end.peaks), f"{said}\n{end.log}"


Baseline = Callable[[Scenario], Awaitable[End]]


async def by_itself(ground: Ground, scenario: Scenario) -> End:
    """How it ends undisturbed: some runs, whose ends must be the same.

    With the most and the fewest writes that a run needed.
    """
    name = f"ns-{scenario.name}-by-itself"
    first, *others = await asyncio.gather(
        *(undisturbed(ground, scenario, name) for _ in range(BASELINES))
    )
    for other in others:
        difference = normalise.difference(first.state, other.state)
        logs = f"{first.log}\n{other.log}"
        assert not difference, f"{scenario.name} has no one end:\n{difference}\n{logs}"
        first.writes = max(first.writes, other.writes)
        first.fewest = min(first.fewest, other.fewest)
        first.requests = max(first.requests, other.requests)
        first.deletions &= other.deletions
        first.told = {
            resource: min(number, other.told[resource])
            for resource, number in first.told.items()
            if resource in other.told
        }
        first.written |= other.written
        first.peaks = highest((first.peaks, other.peaks))
    log.info(
        "%s by itself: %d to %d writes, up to %d requests, %s",
        scenario.name,
        first.fewest,
        first.writes,
        first.requests,
        told(first.peaks),
    )
    return first
