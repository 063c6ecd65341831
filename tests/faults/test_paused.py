"""A leader that was stopped past its Lease, as a machine may be: it wakes and writes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults.disturbances import Pause
from faults.operators import Operator
from faults.proxy import Call
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


@pytest.mark.parametrize(
    ("scenario", "choice"),
    [
        pytest.param(RUN, taking_a_report, id="taking-a-report"),
        pytest.param(RUN, after(0.4), id="run-early"),
        pytest.param(PROMOTION, after(0.25), id="promotion-early"),
        pytest.param(PROMOTION, after(0.75), id="promotion-late"),
        pytest.param(ALERT, after(0.75), id="alert"),
    ],
)
async def test_writes_nothing(
    ground: Ground,
    baseline: Baseline,
    scenario: Scenario,
    choice: Choice,
    request: pytest.FixtureRequest,
) -> None:
    wanted = await baseline(scenario)
    name = f"ns-paused-{request.node.callspec.id}"
    pauses: list[Pause] = []
    sleeper: list[Operator] = []

    def pause(world: World) -> list[Pause]:
        pauses.append(Pause(world.operator, choice(wanted)))
        sleeper.append(world.operator)
        return pauses

    async def paused() -> bool:
        return pauses[0].paused.is_set()

    async def take_over(world: World) -> None:
        """Another replica does the rest; then the first one wakes, ends, and stands by."""
        first, successor = world.operator, world.replica("replica-2")
        await until(paused, 60, "no pause")
        await successor.start()
        world.operator = successor
        await until(successor.leads, 60, "nobody takes over")
        pauses[0].resume()

        async def ended() -> bool:
            return first.starts > 1

        await until(ended, 30, "the first replica goes on")

    await disturbed(
        ground, scenario, name, wanted, disturb=pause, meanwhile=take_over, lease_seconds=8
    )
    late = [call for call in sleeper[0].proxy.calls if call.time > pauses[0].resumed_at]
    assert not [str(call) for call in late if call.number], "it woke and wrote"
    if choice is taking_a_report:
        assert KEPT_NOTHING in sleeper[0].said(), "it did not come to keep the report"
