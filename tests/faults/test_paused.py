"""A leader that was stopped past its Lease, as a machine may be: it wakes and writes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import pytest
import pytest_asyncio
from faults.disturbances import Pause
from faults.many import Ahead
from faults.operators import Operator
from faults.proxy import VERBS, Call
from faults.scenarios import ALERT, PROMOTION, RUN, Scenario
from faults.trial import Baseline, End, disturbed
from faults.world import Ground, World, until

pytestmark = pytest.mark.asyncio(loop_scope="session")
KEPT_NOTHING = "the report cannot be kept now: POST: this process does not hold the Lease"
Chosen = Callable[[Call], bool]
Choice = Callable[[End], Chosen]  # by how the scenario ends undisturbed


def after(share: float) -> Choice:
    """When so much of all writes has been answered, from 0 to 1."""

    def choose(wanted: End) -> Chosen:
        number = max(round(wanted.fewest * share), 1)
        return lambda call: call.number == number

    return choose


def taking_a_report(wanted: End) -> Chosen:
    """The last look before a report is kept; only for reports is there a look at these keys."""
    return lambda call: call.path == "/openid/v1/jwks"


@dataclass(frozen=True)
class Case:
    """Where a leader is stopped."""

    name: str
    scenario: Scenario
    choice: Choice


CASES = (
    Case("taking-a-report", RUN, taking_a_report),
    Case("run-early", RUN, after(0.4)),
    Case("promotion-early", PROMOTION, after(0.25)),
    Case("promotion-late", PROMOTION, after(0.75)),
    Case("alert", ALERT, after(0.75)),
)


async def paused(ground: Ground, baseline: Baseline, case: Case) -> None:
    """One trial."""
    wanted = await baseline(case.scenario)
    pauses: list[Pause] = []
    sleeper: list[Operator] = []

    def pause(world: World) -> list[Pause]:
        pauses.append(Pause(world.operator, case.choice(wanted)))
        sleeper.append(world.operator)
        return pauses

    async def stands_still() -> bool:
        return pauses[0].paused.is_set()

    async def take_over(world: World) -> None:
        """Another replica does the rest; then the first one wakes, ends, and stands by."""
        first, successor = world.operator, world.replica("replica-2")
        await until(stands_still, 60, "no pause")
        await successor.start()
        world.operator = successor
        await until(successor.leads, 60, "nobody takes over")
        pauses[0].resume()

        async def ended() -> bool:
            return first.starts > 1

        await until(ended, 30, "the first replica goes on")

    name = f"ns-paused-{case.name}"
    await disturbed(
        ground, case.scenario, name, wanted, disturb=pause, meanwhile=take_over, lease_seconds=8
    )
    late = [call for call in sleeper[0].proxy.calls if call.time > pauses[0].resumed_at]
    # The Lease's, too: it has no number. Once started again it only looks who holds it.
    wrote = [str(call) for call in late if call.verb in VERBS.values()]
    assert not wrote, "it woke and wrote"
    if case.choice is taking_a_report:
        assert KEPT_NOTHING in sleeper[0].said(), "it did not come to keep the report"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def side_by_side(ground: Ground, baseline: Baseline) -> Callable[[Case], Awaitable[None]]:
    """They mostly wait, for a Lease to run out."""
    return Ahead(CASES, partial(paused, ground, baseline), next_ones=len(CASES)).get


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_writes_nothing(side_by_side: Callable[[Case], Awaitable[None]], case: Case) -> None:
    await side_by_side(case)
