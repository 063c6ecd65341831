"""The loads: each takes a running cluster and operator, and gives figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

from faults.runner import ENDED
from samples import make_training_run

from bench.load.cluster import PARALLEL, Admin, Json, each
from bench.load.runner import Runners
from everloop import contract
from everloop.api.conditions import is_true
from everloop.manifests.trainingrun_job import job_name

T = TypeVar("T")
RUNS = f"/apis/{contract.API_VERSION}"
MODELS = 5  # in one namespace
FLOODERS = 4  # clients that make the flood; each waits for its answer
WATCH_SECONDS = 5.0  # for a watch to tell of what there is, before what is measured begins
FAIRNESS_PROBES = 20  # runs of the namespace that is not the flood's, before it
LOOK_SECONDS = 0.02  # between two looks at a probe
SILENCE_SECONDS = 65.0  # before the flood: the operator has forgotten that it has two namespaces
PROBE_SECONDS = 2.0  # between two of them beside it, from its first run's creation to its end


@dataclass(frozen=True)
class Rate:
    """So many objects in so many seconds, from the first creation to the last completion."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


class Counter:
    """Follows a collection until all of these objects are done. Run `watch` as a task."""

    def __init__(self, admin: Admin, path: str, condition: str, names: Iterable[str]) -> None:
        self._admin = admin
        self._path = path
        self._condition = condition
        self._missing = set(names)
        self._all = asyncio.Event()

    async def watch(self) -> None:
        async for event in self._admin.watch(self._path):
            item = event["object"]
            name = item["metadata"]["name"]
            if is_true(item.get("status"), contract.FAILED):  # of Jobs, too
                raise RuntimeError(f"{name} has failed: {item['status']}")
            if is_true(item.get("status"), self._condition):
                self._missing.discard(name)
                if not self._missing:
                    self._all.set()

    async def done(self) -> None:
        await self._all.wait()


async def namespaces(admin: Admin, prefix: str, count: int) -> list[str]:
    """New namespaces that can be used."""
    names = [f"{prefix}-{number:03}" for number in range(count)]

    async def make(name: str) -> None:
        await admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        while True:
            try:
                await admin.call("GET", account)
            except RuntimeError:
                await asyncio.sleep(0.1)
            else:
                return

    await each(names, make)
    return names


async def complete_runs(admin: Admin, where: list[str], numbers: range) -> Rate:
    """Create TrainingRuns, spread over the namespaces, until every one is Complete."""

    async def make(number: int) -> None:
        namespace = where[number % len(where)]
        model = f"model-{number // len(where) % MODELS}"
        run = make_training_run(f"run-{number:05}", namespace, modelName=model)
        await admin.make_run(namespace, run)

    names = {f"run-{number:05}" for number in numbers}
    counter = Counter(admin, f"{RUNS}/trainingruns", contract.COMPLETE, names)
    return await _timed(counter, numbers, make)


async def complete_jobs(admin: Admin, where: list[str], numbers: range, template: Json) -> Rate:
    """The baseline: bare Jobs with the same pods, which end as soon as they run."""

    async def make(number: int) -> None:
        namespace = where[number % len(where)]
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"job-{number:05}", "namespace": namespace},
            "spec": {"backoffLimit": 0, "template": template},
        }
        await admin.call("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", job)

    names = {f"job-{number:05}" for number in numbers}
    return await _timed(Counter(admin, "/apis/batch/v1/jobs", "Complete", names), numbers, make)


async def _timed(
    counter: Counter,
    numbers: range,
    make: Callable[[int], Awaitable[None]],
    parallel: int = PARALLEL,
) -> Rate:
    task = asyncio.create_task(counter.watch())
    await asyncio.sleep(WATCH_SECONDS)
    started = time.monotonic()
    try:
        await each(numbers, make, parallel)
        await first(counter.done(), task)
    finally:
        task.cancel()
    return Rate(len(numbers), time.monotonic() - started)


async def bare_template(admin: Admin, namespace: str) -> Json:
    """The pods of a TrainingRun's Job, for Jobs that nobody reconciles."""
    jobs = await admin.call("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs?limit=1")
    template: Json = deepcopy(jobs["items"][0]["spec"]["template"])
    template["metadata"] = {"annotations": {ENDED: "200"}}
    return template


@dataclass(frozen=True)
class Waited:
    """Seconds that runs waited for the operator: from creation to the Job, and from the first
    attempt to send their report until they were Complete. One of each for a run.
    """

    for_job: tuple[float, ...]
    for_end: tuple[float, ...]

    @property
    def together(self) -> tuple[float, ...]:
        """What each run waited in all."""
        return tuple(map(sum, zip(self.for_job, self.for_end, strict=True)))


async def fairness(
    admin: Admin, runners: Runners, quiet: str, flood: str, runs: int
) -> tuple[Waited, Waited]:
    """How long runs of `quiet` wait: alone, and beside a flood.

    All runs of the flood are one model's. It is watched to its very end.
    """
    alone = [await _probe(admin, runners, quiet, f"alone-{n}") for n in range(FAIRNESS_PROBES)]
    await asyncio.sleep(SILENCE_SECONDS)
    flooding = asyncio.create_task(_flood(admin, flood, runs))
    await asyncio.sleep(WATCH_SECONDS + PROBE_SECONDS)
    probes: list[asyncio.Task[tuple[float, float]]] = []
    while not flooding.done():  # at its beginning as at its end, however long a pod takes
        probe = _probe(admin, runners, quiet, f"beside-{len(probes)}")
        probes.append(asyncio.create_task(probe))
        await asyncio.wait([flooding], timeout=PROBE_SECONDS)
    rate = await flooding
    beside = await asyncio.gather(*probes)
    print(f"  a flood of {runs} was Complete after {rate.seconds:.0f} s ({rate.per_second:.1f}/s), "
          f"beside {len(beside)} runs")  # fmt: skip
    return Waited(*zip(*alone, strict=True)), Waited(*zip(*beside, strict=True))


async def _flood(admin: Admin, namespace: str, runs: int) -> Rate:
    """As fast as FLOODERS clients can, until every run is Complete."""
    template = make_training_run("x", namespace, modelName="flood")

    async def make(number: int) -> None:
        run = template | {"metadata": {"name": f"flood-{number:05}"}}
        await admin.make_run(namespace, run)

    path = f"{RUNS}/namespaces/{namespace}/trainingruns"
    names = {f"flood-{number:05}" for number in range(runs)}
    counter = Counter(admin, path, contract.COMPLETE, names)
    return await _timed(counter, range(runs), make, FLOODERS)


async def _probe(admin: Admin, runners: Runners, namespace: str, name: str) -> tuple[float, float]:
    """One run's two waits, in seconds.

    Read by name: lists and watches wait for the API server's cache, which under load is behind
    what is there by up to ten seconds.
    """
    job = f"/apis/batch/v1/namespaces/{namespace}/jobs/{job_name(name, 1)}"
    run = f"{RUNS}/namespaces/{namespace}/trainingruns/{name}"
    started = time.monotonic()
    await admin.make_run(namespace, make_training_run(name, namespace, modelName="quiet"))
    while not await admin.exists(job):  # noqa: ASYNC110 (asks the API server)
        await asyncio.sleep(LOOK_SECONDS)
    made = time.monotonic()
    while not is_true((await admin.call("GET", run)).get("status"), contract.COMPLETE):  # noqa: ASYNC110 (as above)
        await asyncio.sleep(LOOK_SECONDS)
    ended = time.monotonic()
    return made - started, ended - runners.sent[namespace, name]


async def first(wanted: Coroutine[Any, Any, T], *needed: asyncio.Task[Any]) -> T:
    """Wait for `wanted`, or raise what ended one of the tasks that it depends on."""
    waiting = asyncio.create_task(wanted)
    await asyncio.wait([waiting, *needed], return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        for task in needed:
            if task.done():
                task.result()
    return await waiting
