"""The operator under load as a process, and what it costs: memory, processor time, API writes."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operator_process import EVERLOOP, OperatorProcess

EMPTY_KOPF = """
import kopf

@kopf.on.event("everloop.dev", "v1alpha1", "trainingruns")
def seen(**_):
    pass
"""
REQUESTS = re.compile(
    r'^everloop_operator_api_requests_total\{resource="(.*?)".*?verb="(.*?)".*\} (\S+)'
)
AS_IN_THE_IMAGE = {
    "PYTHONPATH": str(Path(__file__).parent / "absent"),
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
}
READS = ("get ", "list ", "watch ", "discover ")


@dataclass(frozen=True)
class Usage:
    """What a process had used at a moment."""

    at: float  # seconds, of a monotonic clock
    processor_seconds: float
    resident_bytes: int


def usage(pid: int) -> Usage:
    """Of one process, by /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(
        time.monotonic(),
        ticks / os.sysconf("SC_CLK_TCK"),
        pages * os.sysconf("SC_PAGE_SIZE"),
    )


class Operator(OperatorProcess):
    """Ours, for all namespaces, with what a pod in production has set."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: Any) -> None:
        super().__init__(kubeconfig, log, command=EVERLOOP, **settings)
        self._environment |= AS_IN_THE_IMAGE
        self.restarts = 0  # that nobody asked for

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def keep(self) -> None:
        """Start it again whenever it ends, as a kubelet would, and count that."""
        while True:
            await asyncio.sleep(1)
            if self.exit_code() is not None:
                self.restarts += 1
                print(
                    f"  the operator ended and is started again. {self.tail()[-300:]}", flush=True
                )
                self.start()

    def usage(self) -> Usage:
        return usage(self.pid)

    def requests(self) -> dict[str, float]:
        """Requests to the API server since its start, by verb and resource."""
        found: dict[str, float] = defaultdict(float)
        for line in self.get("/metrics")[1].splitlines():
            if match := REQUESTS.match(line):
                found[f"{match[2]} {match[1]}"] += float(match[3])
        return found

    def writes(self) -> float:
        """Requests that change something, but the Lease's, since its start."""
        return sum(
            count
            for what, count in self.requests().items()
            if not what.startswith(READS) and not what.endswith(" leases")
        )


def empty_kopf(kubeconfig: Path, namespace: str, folder: Path) -> int:
    """Resident bytes of `kopf run` with one handler and no objects, once it has settled."""
    module = folder / "empty_kopf.py"
    module.write_text(EMPTY_KOPF)
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "--quiet", "-n", namespace]
    with (folder / "empty_kopf.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, str(module)],
            env=os.environ | AS_IN_THE_IMAGE | {"KUBECONFIG": str(kubeconfig)},
            stdout=log,
            stderr=log,
        )
    try:
        before = -1
        while (now := usage(process.pid).resident_bytes) != before:
            before = now
            time.sleep(3)
        return now
    finally:
        process.terminate()
        process.wait(30)
