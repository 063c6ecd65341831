"""The API server refuses, hangs and cuts connections: the same end, and no storm meanwhile."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import pytest
from faults.catalogue import SCENARIOS
from faults.disturbances import WAYS, Failing, Kill
from faults.many import many
from faults.proxy import LEASES, Call, Disturbance
from faults.rates import bounded, peaks, told
from faults.scenarios import PROMOTION, Scenario
from faults.trial import Baseline, End, disturbed
from faults.world import Ground, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
log = logging.getLogger("trials")
SECONDS = 12.0
AWAY = ("500", "503", "429", "cut")  # at once: who waits for an answer sends nothing else
# Requests that an operator with one model sends meanwhile, in all. Where some fail it goes on with
# its work and lists again what may have been missed, which was 20; where all do, the watches' and
# the lists' are one a second each at first, which was 18. One that starts asks for one thing after
# the other, once a second.
MOST_PER_SECOND = 24.0
MOST_WHILE_NONE_IS_ANSWERED = {"at-work": 24.0, "leading": 24.0, "starting": 3.0}
MOST_WRITES_PER_SECOND = 5.0
# Whom they fail: an operator at work, one that starts, or one that is about to lead. Where all fail
# the second does not come to what the third does.
Whom = Literal["at-work", "starting", "leading"]


class Moment(NamedTuple):
    """When it begins."""

    number: int  # of the write
    whom: Whom


async def failing(
    ground: Ground, scenario: Scenario, wanted: End, share: float, moment: Moment
) -> Failing:
    """One trial. AssertionError also if there were too many requests meanwhile."""
    number, whom = moment
    name = f"ns-{scenario.name}-failing-{share:.0%}-{whom}-{number}".replace("%", "")
    made: list[Failing] = []

    def disturb(world: World) -> list[Disturbance]:
        kill = Kill(world.operator, number, "before")

        def begins(call: Call) -> bool:
            if whom == "at-work":
                return (call.number or 0) >= number
            writes_lease = call.resource == LEASES and call.verb != "get"
            return kill.done is not None and (whom == "starting" or writes_lease)

        failing = Failing(
            world.operator,
            number,
            share=share,
            seconds=SECONDS,
            begins=begins,
            ways=WAYS if share < 1 and whom == "at-work" else AWAY,
            alone=share == 1 and whom == "starting",
        )
        made.append(failing)
        return [failing] if whom == "at-work" else [failing, kill]

    end = await disturbed(ground, scenario, name, wanted, disturb=disturb)
    met = made[0].met
    rate = len(met) / SECONDS
    writes = sum(call.number is not None for call in met) / SECONDS
    said = f"{name}: {rate:.1f} requests a second, {writes:.1f} writes, {told(peaks(met))}"
    log.info("%s; failed %s", said, dict(made[0].failed))
    most = MOST_PER_SECOND if share < 1 else MOST_WHILE_NONE_IS_ANSWERED[whom]
    assert rate <= most, f"{said}, at most {most}\n{end.log}"
    assert writes <= MOST_WRITES_PER_SECOND, f"{said}\n{end.log}"
    assert bounded(peaks(met)), f"{said}\n{end.log}"
    return made[0]


async def in_every_scenario(
    ground: Ground,
    baseline: Baseline,
    share: float,
    moments: Callable[[Scenario, End], Iterable[Moment]],
) -> list[Failing]:
    """Trials that begin at these moments of each scenario."""

    async def in_one(scenario: Scenario) -> list[Failing]:
        wanted = await baseline(scenario)
        trials = moments(scenario, wanted)
        return await many(failing(ground, scenario, wanted, share, one) for one in trials)

    return list(itertools.chain(*await many(in_one(scenario) for scenario in SCENARIOS)))


def check(trials: Sequence[Failing], ways: Iterable[str]) -> None:
    """AssertionError if requests did not fail in all these ways, or Retry-After was not heard."""
    failed = sum((trial.failed for trial in trials), Counter[str]())
    patient = [request for trial in trials for request in trial.patient]
    early = [request for trial in trials for request in trial.early]
    log.info("failed %s; %d waited, not so %s", dict(failed), len(patient), early)
    assert not set(ways) - failed.keys(), f"not all ways are among {failed}"
    # Two may read the same, and do not tell each other: a pass and the report channel. Two ask for
    # what has lost our label: the start, and each list.
    hasty = [one for one in early if not one.startswith("get") and "!=" not in one]
    assert not hasty, f"before the end of their Retry-After: {hasty}"
    assert len(early) < len(patient), f"only {patient} waited, and not {early}"


@pytest.mark.timeout(1200)
async def test_some_requests_fail(ground: Ground, baseline: Baseline) -> None:
    """A quarter of all requests, from early and from the middle on, in every scenario.

    From the middle on every second time it is an operator that starts.
    """
    turns: tuple[Whom, ...] = ("starting", "at-work", "leading", "at-work")

    def moments(scenario: Scenario, wanted: End) -> Iterable[Moment]:
        yield Moment(2, "at-work")
        yield Moment(wanted.fewest // 2, turns[SCENARIOS.index(scenario) % len(turns)])

    check(await in_every_scenario(ground, baseline, 0.25, moments), {*WAYS, "lost"})


@pytest.mark.timeout(1200)
async def test_all_requests_fail(ground: Ground, baseline: Baseline) -> None:
    """As when the API server is away: once in each scenario, at four moments of the longest.

    Whom they fail takes turns.
    """
    turns: tuple[Whom, ...] = ("at-work", "starting", "leading")

    def moments(scenario: Scenario, wanted: End) -> Iterable[Moment]:
        parts = range(1, 5) if scenario is PROMOTION else (2,)
        first = SCENARIOS.index(scenario)
        for part in parts:
            yield Moment(max(2, wanted.fewest * part // 5), turns[(first + part) % len(turns)])

    check(await in_every_scenario(ground, baseline, 1.0, moments), AWAY)
