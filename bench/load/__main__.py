"""`python -m bench.load [--runs 5000 --namespaces 100]`: what one operator carries.

On fake nodes, with the stand-in for the runner: completes TrainingRuns, and as many bare Jobs with
the same pods on the same cluster, in turns; then leaves them at rest, restarts the operator among
them, and floods one namespace while another makes single runs. With --chart it draws how rate and
memory grow. Ends with 1 when a claim does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT)]

from devcluster.control_plane_only import ControlPlane  # noqa: E402
from faults.plane import control_plane  # noqa: E402
from kube import Kube  # noqa: E402
from rights import account  # noqa: E402

from bench.load import scenarios  # noqa: E402
from bench.load.chart import draw  # noqa: E402
from bench.load.cluster import Admin  # noqa: E402
from bench.load.process import Operator, empty_kopf  # noqa: E402
from bench.load.runner import Runners  # noqa: E402
from bench.load.stages import MIB, grow, settled, total  # noqa: E402

REST_SECONDS = 60.0
MOST_MEMORY = 100e6  # bytes, above an empty kopf
TIMES = 3  # what can be measured again is, and the median counts
SYSTEM = "everloop-system"


@dataclass
class Claims:
    """What is promised, each with what was measured."""

    failed: int = 0

    def check(self, text: str, holds: bool) -> None:
        self.failed += not holds
        print(f"{'  holds' if holds else '  FAILS'}: {text}", flush=True)


async def bench(plane: ControlPlane, options: argparse.Namespace, work: Path) -> int:
    """Everything, on one cluster; the number of claims that do not hold."""
    claims, count = Claims(), options.runs
    async with Admin(plane.kubeconfig).connected() as admin:
        await scenarios.namespaces(admin, "kopf", 1)
        await admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
        empty = empty_kopf(plane.kubeconfig, "kopf-000", work)
        rights = account(Kube(plane.kubeconfig), work, SYSTEM)  # the chart's, and a token
        operator = Operator(rights, work / "operator.log", namespace=SYSTEM)
        operator.start()
        try:
            operator.wait_leading()
            host = f"everloop.{SYSTEM}.svc"
            runners = Runners(admin, plane.state / "pki", operator.report_port, host)
            reporting = asyncio.create_task(runners.watch())
            alive = asyncio.create_task(operator.keep())
            growing = grow(admin, operator, count, options.namespaces)
            stages = await scenarios.first(growing, alive, reporting)
            alive.cancel()
            runs = total([stage.runs for stage in stages])
            jobs = total([stage.jobs for stage in stages])
            print(f"{count} TrainingRuns: {runs.per_second:.1f}/s ({runs.seconds:.0f} s), "
                  f"{operator.writes() / count:.2f} writes each")  # fmt: skip
            for what, requests in sorted(operator.requests().items(), key=lambda item: -item[1]):
                if requests >= count / 4:
                    print(f"  of each run: {requests / count:.2f} {what}")
            ratio = runs.per_second / jobs.per_second
            ratios = [stage.runs.per_second / stage.jobs.per_second for stage in stages]
            median = statistics.median(ratios)
            claims.check(f"{ratio:.2f} times the rate of {jobs.per_second:.1f} bare Jobs/s, median "
                         f"of the stages {median:.2f} ({min(ratios):.2f} to {max(ratios):.2f}): "
                         "at least 0.5 wanted", min(ratio, median) >= 0.5)  # fmt: skip
            claims.check(f"{operator.restarts} restarts of the operator, none wanted",
                         operator.restarts == 0)  # fmt: skip
            if options.chart:
                draw(stages, empty, options.chart)
            await rest(operator, empty, claims)
            restart(operator, claims)
            fair = await scenarios.namespaces(admin, "fair", 2)
            alone, beside = await scenarios.first(
                scenarios.fairness(admin, runners, *fair, options.flood), reporting
            )
            print(f"  from a run to its Job {waits(alone.for_job, beside.for_job)}")
            print(f"  from its report to Complete {waits(alone.for_end, beside.for_end)}")
            usual = statistics.median(alone.together)
            claims.check(f"both together {waits(alone.together, beside.together)}: at most 2 s "
                         "more than usual wanted", max(beside.together) - usual <= 2)  # fmt: skip
            reporting.cancel()
        finally:
            operator.stop()
    return claims.failed


def waits(alone: Sequence[float], beside: Sequence[float]) -> str:
    """What runs waited for, without a flood and beside it."""
    return (
        f"{statistics.median(alone):.2f} s alone (at most {max(alone):.2f} s), beside a flood "
        f"{statistics.median(beside):.2f} s, at most {max(beside):.2f} s"
    )


async def rest(operator: Operator, empty: int, claims: Claims) -> None:
    """Memory, processor and writes with nothing to do: medians of some minutes."""
    before = await settled(operator)
    writes = operator.writes()
    cores, sizes = [], []
    for _ in range(TIMES):
        await asyncio.sleep(REST_SECONDS)
        after = operator.usage()
        spent = after.processor_seconds - before.processor_seconds
        cores.append(spent / (after.at - before.at))
        sizes.append(after.resident_bytes)
        before = after
    core, size = statistics.median(cores), statistics.median(sizes)
    more = size - empty
    claims.check(f"at rest {size / MIB:.0f} MiB, {more / MIB:.0f} MiB above an empty kopf "
                 f"({empty / MIB:.0f} MiB), at most {MOST_MEMORY / MIB:.0f} wanted",
                 more <= MOST_MEMORY)  # fmt: skip
    claims.check(f"at rest {100 * core:.2f} % of a core, less than 1 wanted", core < 0.01)
    claims.check(f"at rest {operator.writes() - writes:.0f} writes, none wanted",
                 operator.writes() == writes)  # fmt: skip


def restart(operator: Operator, claims: Claims) -> None:
    """Starts with everything there: medians, and all writes."""
    readies, idles, writes = [], [], 0.0
    for _ in range(TIMES):
        operator.stop()
        operator.start()
        started = time.monotonic()
        while operator.get("/readyz")[0] != 200:
            time.sleep(0.1)
        readies.append(time.monotonic() - started)
        operator.wait_idle(300)
        idles.append(time.monotonic() - started)
        writes += operator.writes()
    ready = statistics.median(readies)
    claims.check(f"ready {ready:.1f} s after a start ({min(readies):.1f} to {max(readies):.1f} s; "
                 f"nothing left to do after {statistics.median(idles):.1f} s), "
                 "at most 15 s wanted", ready <= 15)  # fmt: skip
    claims.check(f"{writes:.0f} writes after {TIMES} starts, none wanted", writes == 0)
    print(f"  after a start: {operator.usage().resident_bytes / MIB:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--namespaces", type=int, default=100)
    parser.add_argument("--flood", type=int, default=2000)
    parser.add_argument("--chart", type=Path, help="an SVG file to write")
    options = parser.parse_args()
    # Ended from outside, it takes its cluster down, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as folder, control_plane() as plane:
        failed = asyncio.run(bench(plane, options, Path(folder)))
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
