"""A leader that was stopped past its Lease, as a machine may be: it wakes and writes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults.disturbances import Pause
from faults.operators import Operator
from faults.proxy import Call
from faults.scenarios import ALERT, PROMOTION, RUN, Scenario
from faults.trial import Baseline, disturbed
from faults.world import Ground, World, until

pytestmark = pytest.mark.asyncio(loop_scope="session")
Chosen = Callable[[Call], bool]


def at_write(number: int) -> Chosen:
    """When a write was answered."""
    return lambda call: call.number == number


def taking_a_report(call: Call) -> bool:
    """The last look at a run before its report is kept."""
    return (call.verb, call.resource) == ("get", "trainingruns.everloop.dev")


@pytest.mark.parametrize(
    ("scenario", "chosen"),
    [
        pytest.param(RUN, taking_a_report, id="taking-a-report"),
        pytest.param(RUN, at_write(4), id="run-early"),
        pytest.param(PROMOTION, at_write(12), id="promotion-early"),
        pytest.param(PROMOTION, at_write(35), id="promotion-late"),
        pytest.param(ALERT, at_write(25), id="alert"),
    ],
)
async def test_writes_nothing(
    ground: Ground,
    baseline: Baseline,
    scenario: Scenario,
    chosen: Chosen,
    request: pytest.FixtureRequest,
) -> None:
    wanted = await baseline(scenario)
    name = f"ns-paused-{request.node.callspec.id}"
    pauses: list[Pause] = []
    sleeper: list[Operator] = []

    def pause(world: World) -> list[Pause]:
        pauses.append(Pause(world.operator, chosen))
        sleeper.append(world.operator)
        return pauses

    async def take_over(world: World) -> None:
        """Another replica does the rest; then the first one wakes, ends, and stands by."""
        first, successor = world.operator, world.replica("replica-2")
        await pauses[0].paused.wait()
        await successor.start()
        world.operator = successor
        await until(successor.leads, 60, "nobody takes over")
        pauses[0].resume()

        async def ended() -> bool:
            return first.starts > 1

        await until(ended, 30, "the first replica goes on")

    await disturbed(
        ground, scenario, name, wanted, disturb=pause, meanwhile=take_over, lease_seconds=4
    )
    late = [call for call in sleeper[0].proxy.calls if call.time > pauses[0].resumed_at]
    assert not [str(call) for call in late if call.number], "it woke and wrote"
