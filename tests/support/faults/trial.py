"""Runs one scenario, disturbed or not, to its end, and says how it ended."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from faults import normalise
from faults.proxy import Call, Disturbance
from faults.scenarios import Scenario
from faults.world import LOOK_SECONDS, Ground, World

T = TypeVar("T")
DEADLINE_SECONDS = 150.0
QUIET_SECONDS = 1.5  # at rest: nothing is written for so long
PATIENCE_SECONDS = 30.0  # longer than anything that a plan waits for
BASELINES = 6  # undisturbed runs of a scenario: how often they write differs with what coincides
ENOUGH = 5  # failures that are told in full

Hook = Callable[[World], Coroutine[None, None, None]]
Disturb = Callable[[World], Sequence[Disturbance]]


@dataclass
class End:
    """How a run of a scenario ended."""

    state: normalise.State
    writes: int
    created: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: float = 0.0
    log: str = ""


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
        return _end(world, state, started)


async def disturbed(
    ground: Ground,
    scenario: Scenario,
    name: str,
    wanted: End,
    *,
    disturb: Disturb = nothing,
    meanwhile: Hook | None = None,
    in_the_end: Hook | None = None,
    **settings: Any,
) -> End:
    """How it ends with something going wrong. AssertionError unless it is the same end.

    `meanwhile` runs beside it from its start, `in_the_end` when it is over for the first time;
    `settings` are the operator's.
    """
    async with World(ground, name, **settings) as world:
        started = time.monotonic()
        world.operator.proxy.disturbances = disturb(world)
        await _begin(world, scenario)
        beside: asyncio.Task[None] | None = (
            asyncio.create_task(meanwhile(world)) if meanwhile else None
        )
        found: normalise.State = {}
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await _drive(world, scenario)
                if beside is not None:
                    await beside
                if in_the_end is not None:
                    await _rest(world, wanted.state)
                    await in_the_end(world)
                found = await _rest(world, wanted.state)
        except TimeoutError:
            seen, found = world.state(), await world.live_state()
            behind = normalise.difference(found, seen)
            assert not behind, f"{name}: the mirror shows otherwise:\n{behind}\n{world.explain()}"
        finally:
            if beside is not None:
                beside.cancel()
        difference = normalise.difference(wanted.state, found)
        assert not difference, f"{name} ends differently:\n{difference}\n{world.explain()}"
        end = _end(world, found, started)
        twice = {what: count for what, count in end.created.items() if count > wanted.created[what]}
        assert not twice, f"{name}: created more often than undisturbed: {twice}\n{world.explain()}"
        return end


async def _begin(world: World, scenario: Scenario) -> None:
    scenario.prepare(world)
    for manifest in scenario.setup(world.namespace):
        await world.create(manifest)
    await world.operator.start()


async def _drive(world: World, scenario: Scenario) -> None:
    """Until the scenario is over."""
    while True:
        await scenario.drive(world)
        if scenario.done(world):
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _rest(world: World, wanted: normalise.State | None = None) -> normalise.State:
    """The state once everything is settled and nothing has changed for a while.

    That is as wanted, or else for so long that it will stay so.
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
            normalise.at_rest(state) and (wanted is None or state == wanted)
        ):
            live = await world.live_state()
            if live == state:
                return state
            since = time.monotonic()


def _end(world: World, state: normalise.State, started: float) -> End:
    writes = world.writes
    seconds = time.monotonic() - started
    return End(state, len(writes), creations(writes), seconds, world.explain())


def creations(writes: Sequence[Call]) -> Counter[tuple[str, str]]:
    """How often each object was created; events have new names each time."""
    return Counter(
        (call.resource, call.name)
        for call in writes
        if call.verb == "create" and call.status == 201 and not call.resource.startswith("events")
    )


Baseline = Callable[[Scenario], Awaitable[End]]


class Baselines:
    """How scenarios end undisturbed: some runs of each, whose ends must be the same."""

    def __init__(self, ground: Ground, order: Sequence[Scenario]) -> None:
        """`order` is that in which they will be asked for: the next is found out ahead."""
        self._ground = ground
        self._after = dict(itertools.pairwise(order))
        self._found: dict[Scenario, asyncio.Task[End]] = {}

    async def get(self, scenario: Scenario) -> End:
        """The end, with the most writes that a run needed; found out once."""
        for item in (scenario, self._after.get(scenario)):
            if item is not None and item not in self._found:
                self._found[item] = asyncio.create_task(self._find(item))
        return await self._found[scenario]

    async def _find(self, scenario: Scenario) -> End:
        name = f"ns-{scenario.name}-by-itself"
        first, *others = await asyncio.gather(
            *(undisturbed(self._ground, scenario, name) for _ in range(BASELINES))
        )
        for other in others:
            difference = normalise.difference(first.state, other.state)
            logs = f"{first.log}\n{other.log}"
            assert not difference, f"{scenario.name} has no one end:\n{difference}\n{logs}"
            first.writes = max(first.writes, other.writes)
        return first


async def many(trials: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Run trials side by side; AssertionError with what all that failed say."""
    ends = await asyncio.gather(*trials, return_exceptions=True)
    failures = [str(end) for end in ends if isinstance(end, AssertionError)]
    count = f"{len(failures)} of {len(ends)} failed"
    assert not failures, f"{count}:\n" + "\n\n".join(failures[:ENOUGH])
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return [end for end in ends if not isinstance(end, BaseException)]
