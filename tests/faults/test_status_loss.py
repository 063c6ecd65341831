"""Every status is erased, in the middle and at the end: what is known is known from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from faults.admin import Json
from faults.catalogue import SCENARIOS
from faults.disturbances import EraseStatus, erase_status
from faults.many import many
from faults.scenarios import MODEL, PROMOTION, ROLLOUT, Scenario
from faults.trial import Baseline, End, check_rates, disturbed
from faults.world import Ground, World, until
from samples import make_deployment, make_model_version

from everloop import contract

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def erased(ground: Ground, scenario: Scenario, wanted: End, number: int) -> End:
    """One trial; after the last write if `number` is 0."""
    name = f"ns-{scenario.name}-erased-{number}"

    def erase(world: World) -> list[EraseStatus]:
        return [EraseStatus(world.admin, world.namespace, number)]

    end = await (
        disturbed(ground, scenario, name, wanted, disturb=erase)
        if number
        else disturbed(ground, scenario, name, wanted, in_the_end=erase_all)
    )
    check_rates(name, wanted, end)
    return end


async def erase_all(world: World) -> None:
    """Now."""
    erased = await erase_status(world.admin, world.namespace)
    assert erased, f"{world.namespace}: there was no status"


@pytest.mark.timeout(1200)
async def test_same_end(ground: Ground, baseline: Baseline) -> None:
    """The end is the same, statuses and counts included, and nothing is made again."""

    async def in_scenario(scenario: Scenario) -> None:
        wanted = await baseline(scenario)
        last = [0] if _statuses(wanted) else []
        numbers = [*last, *(wanted.fewest * part // 5 for part in range(1, 5))]
        await many(erased(ground, scenario, wanted, number) for number in numbers)

    await many(in_scenario(scenario) for scenario in SCENARIOS)


def _statuses(end: End) -> bool:
    """Whether there is anything left that has one."""
    ours = f".{contract.GROUP}"
    return any(
        "status" in item for name, item in end.state.items() if name.split()[0].endswith(ours)
    )


def _slow_rollout(namespace: str) -> list[Json]:
    """Its first step takes seconds, so that it can be seen."""
    steps = [{"pause": {"duration": "1h"}}, {"weight": 20}, {"analysis": {}}, {"weight": 100}]
    rollout = ROLLOUT | {"steps": steps}
    return [
        make_model_version(MODEL, 1, namespace),
        make_deployment(MODEL, namespace, modelName=MODEL, rollout=rollout),
    ]


async def test_a_rollout_in_flight_begins_at_its_first_step(
    ground: Ground, baseline: Baseline
) -> None:
    """And promotes in the end, once."""
    scenario = replace(PROMOTION, name="slow-promotion", setup=_slow_rollout)
    wanted = await baseline(scenario)

    async def erase_in_the_analysis(world: World) -> None:
        async def at(step: int) -> bool:
            status = (world.get("deployments", MODEL) or {}).get("status") or {}
            return bool(status.get("step") == step)

        await until(lambda: at(2), 90, "no analysis")
        await erase_all(world)
        await until(lambda: at(0), 30, "the rollout does not begin again")

    name = f"ns-{scenario.name}-erased"
    end = await disturbed(ground, scenario, name, wanted, meanwhile=erase_in_the_analysis)
    check_rates(name, wanted, end)
