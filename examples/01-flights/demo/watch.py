"""Looks at the objects and at Prometheus all the time, and tells what changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from demo.cluster import Cluster, Object, UnexpectedError
from demo.narration import conditions, narrate
from demo.timeline import Timeline

T = TypeVar("T")
KINDS = ("experiments", "trainingruns", "modelversions", "deployments", "monitors")
EVERY = 1.0  # seconds between looks
PROGRESS_EVERY = 5.0  # seconds between lines of progress


@dataclass(frozen=True)
class Prometheus:
    """Prometheus, by the API server's proxy."""

    cluster: Cluster
    service: str  # API path of its Service

    async def values(self, query: str) -> list[tuple[dict[str, str], float]]:
        """An instant query: labels and value of each series; none while it does not answer."""
        with suppress(UnexpectedError, aiohttp.ClientError, TimeoutError):
            answer = await self.cluster.get(f"{self.service}/proxy/api/v1/query", query=query)
            if answer:
                return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]
        return []

    async def value(self, query: str) -> float | None:
        """The only series' value."""
        found = await self.values(query)
        return found[0][1] if found else None


@dataclass
class Snapshot:
    """All objects of the namespace, by kind (plural) and name, and the drift as last seen."""

    objects: dict[str, dict[str, Object]] = field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    drift: float | None = None  # largest PSI of two windows over its bound; None: no verdict

    def one(self, kind: str, name: str) -> Object:
        """An object, or an empty one."""
        return self.objects[kind].get(name, {})

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """Its status, or an empty one."""
        status: dict[str, Any] = self.one(kind, name).get("status", {})
        return status

    def condition(self, kind: str, name: str, type_: str) -> str:
        """`True`, `False` or `Unknown` of a condition; empty if it is not there."""
        return str(conditions(self.one(kind, name)).get(type_, {}).get("status", ""))

    def caused(self, monitor: str) -> list[Object]:
        """Runs that this Monitor made."""
        return [
            run
            for run in self.objects["trainingruns"].values()
            if run["metadata"].get("labels", {}).get("everloop.dev/monitor") == monitor
        ]


class Watch:
    """Use as an async context: looks every second, prints, and wakes who waits."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        prometheus: Prometheus,
        timeline: Timeline,
        progress: Callable[[Snapshot], str],
    ) -> None:
        self.now = Snapshot()
        self._cluster, self._namespace, self._prometheus = cluster, namespace, prometheus
        self._timeline, self._progress = timeline, progress
        self._looked = asyncio.Condition()
        self._guards: list[Callable[[Snapshot], str]] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._look_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def until(self, what: str, check: Callable[[Snapshot], T | None], seconds: float) -> T:
        """The first true answer of `check`.

        Raises UnexpectedError when it is not there in time, or when a guard speaks.
        """
        deadline = time.monotonic() + seconds
        async with self._looked:
            while True:
                if answer := check(self.now):
                    return answer
                self._raise_if_wrong()
                left = deadline - time.monotonic()
                if left <= 0:
                    raise UnexpectedError(f"{what}: not after {seconds:.0f} s")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._looked.wait(), left)

    def forbid(self, guard: Callable[[Snapshot], str]) -> Callable[[], None]:
        """From now on whoever waits fails when `guard` returns a text; call the result to end."""
        self._guards.append(guard)
        return lambda: self._guards.remove(guard)

    def _raise_if_wrong(self) -> None:
        for guard in self._guards:
            if problem := guard(self.now):
                raise UnexpectedError(problem)
        if self._task and self._task.done():
            self._task.result()  # raises why it ended

    async def _look_for_ever(self) -> None:
        said = time.monotonic()
        while True:
            before, self.now = self.now, await self._look()
            for important, text in _changes(before, self.now):
                (self._timeline.event if important else self._timeline.line)(text)
            if time.monotonic() - said > PROGRESS_EVERY:
                said = time.monotonic()
                if text := self._progress(self.now):
                    self._timeline.line(text)
            async with self._looked:
                self._looked.notify_all()
            await asyncio.sleep(EVERY)

    async def _look(self) -> Snapshot:
        base = f"/apis/everloop.dev/v1alpha1/namespaces/{self._namespace}"
        lists = [self._cluster.items(f"{base}/{kind}") for kind in KINDS]
        drift = self._prometheus.value(
            f'max(everloop:drift:ratio{{everloop_namespace="{self._namespace}", side="input"}})'
        )
        found = await asyncio.gather(*lists)
        return Snapshot(
            {
                kind: {item["metadata"]["name"]: item for item in items}
                for kind, items in zip(KINDS, found, strict=True)
            },
            await drift,
        )


def _changes(before: Snapshot, after: Snapshot) -> Iterator[tuple[bool, str]]:
    for kind in KINDS:
        for name, item in after.objects[kind].items():
            yield from narrate(kind, before.objects[kind].get(name, {}), item)
