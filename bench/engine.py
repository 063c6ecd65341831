"""Our engine against an idiomatic kopf operator for the same kind: `python -m bench.engine`.

Each run makes 1,000 Toys in a namespace of its own while no operator looks, starts the operator,
waits until all are done, changes all of them, and restarts the operator. Rates and writes are read
from the API server's audit log, so both are measured by the same clock and nothing is asked while
they work. Runs of the two take turns on the same API server; medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "tests" / "support"
sys.path[:0] = [str(SUPPORT), str(ROOT)]

from devcluster.control_plane_only import ControlPlane  # noqa: E402
from kube import Kube  # noqa: E402
from operator_process import OperatorProcess  # noqa: E402
from rights import EVERYTHING, kubeconfig_of  # noqa: E402
from toy import CRD, GROUP, make_toy  # noqa: E402

from everloop.cluster import credentials  # noqa: E402
from everloop.cluster.client import MERGE, Client  # noqa: E402

DEADLINE_SECONDS = 900
QUIET_SECONDS = 6.0  # without a write: the operator has nothing more to do
OURS, THEIRS = "everloop", "idiomatic kopf"
# Both have a token, as in a pod: a client's certificate is verified anew with each request, which
# is a fifth of what the API server does in this benchmark. kopf looks for CRDs and namespaces, so
# both may do everything.
ACCOUNT = "operator"
AGENTS = {OURS: ("everloop",), THEIRS: ("kopf", "OpenAPI-Generator")}


@dataclass(frozen=True)
class Phase:
    """What one operator did from its first to its last write."""

    seconds: float
    writes: int


class Audit:
    """The writes of an operator in a namespace, by the API server's audit log."""

    def __init__(self, file: Path, namespace: str, agents: Sequence[str]) -> None:
        self._file = file
        self._namespace = namespace
        self._agents = tuple(agents)
        self._offset = file.stat().st_size
        self._times: list[float] = []
        self._done: set[str] = set()

    def read(self) -> list[float]:
        """The times of all writes so far; those of leases do not count."""
        with self._file.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                entry = json.loads(line)
                about = entry.get("objectRef") or {}
                if (
                    entry["verb"] in ("create", "update", "patch", "delete")
                    and entry["stage"] == "ResponseComplete"
                    and about.get("namespace") == self._namespace
                    and about.get("resource") != "leases"
                    and entry.get("userAgent", "").startswith(self._agents)
                ):
                    self._times.append(datetime.fromisoformat(entry["stageTimestamp"]).timestamp())
                    if about.get("resource") == "toys":
                        self._done.add(about["name"])
        return self._times

    def phase(self, objects: int) -> Phase:
        """Wait until so many objects were written and then no write came for a while; sum up."""
        started = time.monotonic()
        count, since = 0, started
        while time.monotonic() - since < QUIET_SECONDS or len(self._done) < objects:
            if time.monotonic() - started > DEADLINE_SECONDS:
                raise TimeoutError(f"{len(self._done)} of {objects} in {DEADLINE_SECONDS} s")
            now = len(self.read())
            if now != count:
                count, since = now, time.monotonic()
            time.sleep(0.2)
        times = self.read()
        return Phase(max(times) - min(times) if times else 0.0, len(times))


class IdiomaticOperator:
    """`kopf run` of bench/kopf_operator.py."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path) -> None:
        self._environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": f"{SUPPORT}:{ROOT / 'operator'}",
        }
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as for ours
        self._command = [sys.executable, "-m", "kopf", "run", "--standalone", "--quiet",
                         "-n", namespace, str(ROOT / "bench" / "kopf_operator.py")]  # fmt: skip
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log
            )

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)


async def each(kubeconfig: Path, namespace: str, count: int, value: str | None) -> None:
    """Create `count` Toys, or with `value` change all of them."""
    os.environ["KUBECONFIG"] = str(kubeconfig)
    slots = asyncio.Semaphore(16)
    async with Client(credentials.load(), agent="bench") as client:

        async def one(number: int) -> None:
            toy = make_toy(f"toy-{number:04}", namespace)
            async with slots:
                if value is None:
                    await client.create(toy)
                else:
                    await client.patch(toy, MERGE, {"spec": {"value": value}})

        await asyncio.gather(*(one(number) for number in range(count)))


def run(plane: ControlPlane, which: str, namespace: str, count: int, work: Path) -> list[Phase]:
    """One run: creation, change, restart."""
    assert plane.audit_log is not None
    audit_log = Path(plane.audit_log)
    kube = Kube(plane.kubeconfig)
    kube.namespace(namespace)
    kubeconfig = kubeconfig_of(kube, work, namespace, ACCOUNT)
    asyncio.run(each(plane.kubeconfig, namespace, count, None))
    operator: OperatorProcess | IdiomaticOperator
    log = work / f"{namespace}.log"
    if which == OURS:
        settings = {"namespace": namespace, "watch_namespaces": namespace}
        operator = OperatorProcess(kubeconfig, log, **settings)
    else:
        operator = IdiomaticOperator(kubeconfig, namespace, log)
    phases = []
    audit = Audit(audit_log, namespace, AGENTS[which])
    operator.start()
    try:
        phases.append(audit.phase(count))
        audit = Audit(audit_log, namespace, AGENTS[which])
        asyncio.run(each(plane.kubeconfig, namespace, count, "two"))
        phases.append(audit.phase(count))
        check(plane, namespace, count)
        operator.stop()
        audit = Audit(audit_log, namespace, AGENTS[which])
        operator.start()
        if isinstance(operator, OperatorProcess):
            operator.wait_leading()
            operator.wait_idle()
        phases.append(audit.phase(0 if which == OURS else count))
    finally:
        operator.stop()
    return phases


def check(plane: ControlPlane, namespace: str, count: int) -> None:
    """Both must have done the same work."""
    kube = Kube(plane.kubeconfig)
    configs = kube.list("v1", "configmaps", namespace)
    copied = [item for item in configs if (item.get("data") or {}).get("value") == "two"]
    toys = kube.list(f"{GROUP}/v1", "toys", namespace)
    told = [item for item in toys if item["status"]["value"] == "two"]
    if len(copied) != count or len(told) != count:
        raise SystemExit(f"{namespace}: {len(copied)} children and {len(told)} statuses of {count}")


def main() -> None:
    """Print both, and end with 1 when the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    results: dict[str, list[list[Phase]]] = {OURS: [], THEIRS: []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        plane = ControlPlane(f"bench-{os.getpid()}", audit_log=work / "audit.log")
        plane.start()
        try:
            kube = Kube(plane.kubeconfig)
            kube.install([CRD])
            kube.apply(EVERYTHING, "bench")
            for number in range(options.runs):
                for which in (OURS, THEIRS) if number % 2 == 0 else (THEIRS, OURS):
                    namespace = f"{which.split()[-1]}-{number}"
                    phases = run(plane, which, namespace, options.objects, work)
                    results[which].append(phases)
                    print(
                        f"run {number + 1}: {describe(which, phases, options.objects)}", flush=True
                    )
        finally:
            plane.stop()
    raise SystemExit(0 if summary(results, options.objects) else 1)


def describe(which: str, phases: list[Phase], count: int) -> str:
    """One run in a line."""
    create, change, restart = phases
    return (
        f"{which:>14}: created {count / create.seconds:6.1f}/s with {create.writes} writes, "
        f"changed {count / change.seconds:6.1f}/s with {change.writes}, "
        f"restart {restart.writes} writes"
    )


def summary(results: dict[str, list[list[Phase]]], count: int) -> bool:
    """Medians and ratios; whether ours is at least twice as fast for at most half the writes."""
    rates, writes = {}, {}
    for which, runs in results.items():
        rates[which] = statistics.median(count / phases[0].seconds for phases in runs)
        changed = statistics.median(count / phases[1].seconds for phases in runs)
        writes[which] = statistics.median(sum(phase.writes for phase in phases) for phases in runs)
        print(
            f"{which:>14}: median {rates[which]:.1f} objects/s created, {changed:.1f}/s changed; "
            f"{writes[which]:.0f} API writes for {count} objects created, changed and a restart"
        )
    faster, fewer = rates[OURS] / rates[THEIRS], writes[OURS] / writes[THEIRS]
    print(f"{OURS} / {THEIRS}: {faster:.2f} times the objects a second (at least 2 wanted), "
          f"{fewer:.2f} of the writes (at most 0.5 wanted)")  # fmt: skip
    return faster >= 2 and fewer <= 0.5


if __name__ == "__main__":
    main()
