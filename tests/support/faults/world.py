"""One namespace, one operator behind a proxy, and what stands in for the world around it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rights import ACCOUNT, REVIEWS, Right, binding_at_home, review

from everloop import contract
from everloop.api.conditions import is_true
from faults import normalise
from faults.admin import Admin, Answered, Json
from faults.operators import Operator, Zygote
from faults.prometheus import Facts, FakePrometheus
from faults.proxy import LEASES, Call, Proxy
from faults.router import Routers
from faults.runner import Runner

T = TypeVar("T")
AT_ONCE = 28  # worlds, which mostly wait: for servers to drain, for analyses, for rest
APART_SECONDS = 0.6  # between two beginnings, else all compute together and then all wait
LOOK_SECONDS = 0.2  # how often stand-ins and scenarios look at the cluster
SETTINGS: dict[str, Any] = {
    # Long enough for a machine that is short of time. A restarted operator goes on at once: it has
    # the same identity. Another replica has to wait: see takeover.py.
    "lease_seconds": 60,
    "clock_speedup": 3600,
    "scrape_interval_seconds": 1,
    "poll_interval_seconds": 1,
    "workers": 8,
}


@dataclass(frozen=True)
class Ground:
    """What all worlds of a session share."""

    admin: Admin
    zygote: Zygote
    before: Zygote  # of the release before
    folder: Path
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    door: asyncio.Lock = field(default_factory=asyncio.Lock)
    count: Iterator[int] = field(default_factory=itertools.count)


class World:
    """Use as an async context manager: a namespace of its own, and everything is off at its end.

    The namespace stays, for whoever looks into a failure; to delete it costs as much as a trial.
    """

    def __init__(self, ground: Ground, name: str, **settings: Any) -> None:
        """`name` begins the namespace's; `settings` of the operator replace those above."""
        self.ground = ground
        self.admin = ground.admin
        self.namespace = name = f"{name}-{next(ground.count)}"
        self.facts = Facts()
        self.hanging: Callable[[Json], bool] = lambda _: False  # whether a run's steps never end
        # what counts as the same end although it looks otherwise
        self.translate: Callable[[normalise.State], normalise.State] = lambda state: state
        self.done_once: dict[str, str] = {}  # what the scenario did and must not do again, and when
        self.prometheus = FakePrometheus(ground.admin, name, self.facts)
        self.routers = Routers(ground.admin, name)
        self.runner = Runner(
            ground.admin,
            name,
            port=lambda: self.operator.report_port,
            works=lambda run: not self.hanging(run),
        )
        self._settings = settings
        self._stand_ins: asyncio.Task[None] | None = None
        self.replicas: list[Operator] = []
        self.operator: Operator  # the one that is waited for, and gets the reports

    async def __aenter__(self) -> World:
        await self.ground.turns.acquire()
        async with self.ground.door:
            await asyncio.sleep(APART_SECONDS)
        self.admin.mirror.follow(self.namespace)
        await self._namespace()
        await self.prometheus.start()
        self.operator = self.replica("replica-1")
        self._stand_ins = asyncio.create_task(self._stand_in())
        return self

    async def __aexit__(self, *_: object) -> None:
        for replica in self.replicas:
            await replica.stop()
        if self._stand_ins is not None:
            self._stand_ins.cancel()
            await asyncio.gather(self._stand_ins, return_exceptions=True)
        await self.routers.stop()
        await self.prometheus.stop()
        self.admin.mirror.forget(self.namespace)
        self.ground.turns.release()

    def replica(self, identity: str) -> Operator:
        """An operator of this namespace, not started."""
        settings = (
            SETTINGS
            | self._settings
            | {
                "namespace": self.namespace,
                "watch_namespaces": self.namespace,
                "prometheus_url": self.prometheus.url,
            }
        )
        made = Operator(
            self.ground.zygote,
            Proxy(self.admin, f"system:serviceaccount:{self._account}"),
            self.ground.folder,
            identity,
            settings,
        )
        self.replicas.append(made)
        return made

    @property
    def writes(self) -> list[Call]:
        """What all replicas wrote, but for the Lease's, in order."""
        calls = [call for replica in self.replicas for call in replica.proxy.writes]
        return sorted(calls, key=lambda call: call.time)

    @property
    def calls(self) -> list[Call]:
        """All that all replicas asked for, but for the Lease."""
        calls = [call for replica in self.replicas for call in replica.proxy.calls]
        return [call for call in calls if call.resource != LEASES]

    # --- what scenarios and trials ask and do -----------------------------------------------------
    def get(self, plural: str, name: str) -> Json | None:
        """One of ours, by plural."""
        return self.admin.get(f"{plural}.{contract.GROUP}", self.namespace, name)

    def list(self, plural: str) -> list[Json]:
        """All of ours of a kind, by plural."""
        return self.admin.list(f"{plural}.{contract.GROUP}", self.namespace)

    async def create(self, manifest: Json) -> None:
        """Once: a name that is taken is fine. What is asked next knows of it."""

        async def shown() -> bool:
            return self.admin.shows(manifest)

        key = f"create {manifest['kind']} {manifest['metadata']['name']}"
        if key not in self.done_once:
            made = await self.admin.create(manifest)
            await until(shown, 30, f"{key}: not shown")
            self.done_once[key] = f"{_clock()}, {'made' if made else 'it was there'}"

    async def delete(self, live: Json) -> None:
        """Once."""
        key = f"delete {live['metadata']['uid']}"
        if key not in self.done_once:
            await self.admin.delete(live)
            self.done_once[key] = _clock()

    async def change(self, live: Json, body: Json) -> None:
        """By a merge patch, as a person does it; once for each body."""
        key = f"change {live['metadata']['uid']} {body}"
        if key not in self.done_once:
            await self.admin.merge(live, body)
            self.done_once[key] = _clock()

    def state(self) -> normalise.State:
        """Everything in the namespace, a moment ago."""
        return self.translate(normalise.look(self.admin, self.namespace, self._words()))

    async def live_state(self) -> normalise.State:
        """Everything in the namespace."""
        return self.translate(await normalise.read(self.admin, self.namespace, self._words()))

    async def settled(self) -> bool:
        """Whether the operator and all controllers have done what there is to do."""
        jobs = self.admin.list("jobs.batch", self.namespace)
        servers = self.admin.list("deployments.apps", self.namespace)
        return (
            all(_ended(job) for job in jobs)
            and all(_complete(server) for server in servers)
            and await self.operator.idle()
        )

    def explain(self) -> str:
        """For messages: what was done and written, and what the operator said."""
        done = "\n".join(f"{key}: {how}" for key, how in self.done_once.items())
        writes = "\n".join(f"{call.number:4} {call}" for call in self.writes)
        said = "\n".join(
            f"{replica.identity}, started {replica.starts} times:\n{replica.tail()}"
            for replica in self.replicas
        )
        return f"done:\n{done}\nwrites:\n{writes}\n{said}"

    # --- inside -----------------------------------------------------------------------------------
    def _words(self) -> dict[str, str]:
        return {str(replica.report_port): "<port>" for replica in self.replicas}

    @property
    def _account(self) -> str:
        """Of the operator, with the chart's rights in this namespace and no others."""
        return f"{self.namespace}:{ACCOUNT}"

    async def _namespace(self) -> None:
        manifest = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace},
        }
        await self.admin.call("POST", "/api/v1/namespaces", manifest)
        await self.admin.create(binding_at_home(self.namespace))
        lease = Right("coordination.k8s.io", "leases", "create")

        async def usable() -> bool:
            found = self.admin.get("serviceaccounts", self.namespace, "default")
            ca = self.admin.get("configmaps", self.namespace, "kube-root-ca.crt")
            if found is None or ca is None:
                return False
            # The API server hears of new roles a moment later.
            asked = review(self._account, lease, self.namespace)
            answer = await self.admin.call("POST", REVIEWS, asked)
            return bool(answer["status"]["allowed"])

        await until(usable, 60, "the namespace cannot be used")

    async def _stand_in(self) -> None:
        """Runners and routers look at the pods, for ever."""
        while True:
            pods = self.admin.list("pods", self.namespace)
            await self.routers.step(pods)
            try:
                await self.runner.step(pods)
            except Answered as answered:
                if answered.status not in (404, 409):  # what it looked at has gone meanwhile
                    raise
            await asyncio.sleep(LOOK_SECONDS)


def _clock() -> str:
    """As the operator's log has it."""
    return time.strftime("%H:%M:%S")


def _ended(job: Json) -> bool:
    """One that failed never has a completionTime."""
    status = job.get("status") or {}
    return bool(status.get("completionTime")) or is_true(status, "Failed")


def _complete(server: Json) -> bool:
    status, wanted = server.get("status") or {}, server["spec"]["replicas"]
    return bool(
        status.get("observedGeneration") == server["metadata"]["generation"]
        and status.get("readyReplicas", 0) == status.get("replicas", 0) == wanted
    )


async def until(check: Callable[[], Awaitable[T | None]], seconds: float, what: str) -> T:
    """Poll until `check` answers something true, and return it; AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = await check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} after {seconds} s")
        await asyncio.sleep(LOOK_SECONDS)  # between two looks, never instead of one
