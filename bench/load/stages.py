"""Ever more finished TrainingRuns, in turns with as many bare Jobs: rates, and memory between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bench.load import scenarios
from bench.load.cluster import Admin
from bench.load.process import Operator, Usage
from bench.load.scenarios import Rate

SIZES = (500, 1000, 2000, 3500, 5000)
TURN = 500  # runs, and then as many Jobs: soon enough that both meet the same machine
MIB = 1 << 20


@dataclass(frozen=True)
class Stage:
    """From the stage before to `count` finished runs, and what the operator holds then."""

    count: int
    runs: Rate
    jobs: Rate
    resident_bytes: int


async def grow(admin: Admin, operator: Operator, most: int, namespaces: int) -> list[Stage]:
    """All stages up to `most` runs over so many namespaces; prints each as it ends."""
    where = await scenarios.namespaces(admin, "load", namespaces)
    bare = await scenarios.namespaces(admin, "bare", namespaces)
    stages: list[Stage] = []
    before = 0
    for count in [*(size for size in SIZES if size < most), most]:
        runs, jobs = [], []
        for start in range(before, count, TURN):
            numbers = range(start, min(start + TURN, count))
            runs.append(await scenarios.complete_runs(admin, where, numbers))
            resident = (await settled(operator)).resident_bytes
            template = await scenarios.bare_template(admin, where[0])
            jobs.append(await scenarios.complete_jobs(admin, bare, numbers, template))
        stage = Stage(count, total(runs), total(jobs), resident)
        stages.append(stage)
        print(f"  to {count} runs: {stage.runs.per_second:.1f}/s, bare Jobs "
              f"{stage.jobs.per_second:.1f}/s, {resident / MIB:.0f} MiB", flush=True)  # fmt: skip
        before = count
    return stages


async def settled(operator: Operator) -> Usage:
    """Once it writes no more."""
    while True:
        writes = operator.writes()
        await asyncio.sleep(5)
        if operator.writes() == writes:
            return operator.usage()


def total(rates: Sequence[Rate]) -> Rate:
    """All of them, one after the other."""
    return Rate(sum(rate.count for rate in rates), sum(rate.seconds for rate in rates))
