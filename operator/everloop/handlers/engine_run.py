"""One operator process from start to end: kopf's watches, the Lease, the engine, the intakes.

The process ends when anything in it ends that should not: Kubernetes starts it again, and a start
is the one recovery that is always tested.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from everloop import contract, errors, health
from everloop.cluster.client import Client, load_configuration
from everloop.cluster.lease import Lease, Lost
from everloop.cluster.schemas import outdated
from everloop.handlers import engine_kopf
from everloop.handlers.engine import Engine
from everloop.handlers.engine_patience import until_answered
from everloop.handlers.kind import EngineApi, Kind
from everloop.metrics import INTAKE_FAILED, Metrics
from everloop.settings import Settings

logger = logging.getLogger(__name__)
Intake = Callable[[EngineApi, Settings], Awaitable[None]]
INTAKE_BACKOFF_SECONDS = 5.0
PUBLISHING_SECONDS = 10.0  # a cluster may as well publish no schemas at all
READS = ("get", "list")
NEW_KINDS_SECONDS = 30.0  # how often to look whether a missing CRD has come


class Restart(Exception):  # noqa: N818 (what is wanted)
    """The process should be started again, for the reason that the message gives."""


class Operator:
    """`run` returns the exit code."""

    def __init__(
        self,
        kinds: Sequence[Kind[Any]],
        settings: Settings,
        *,
        outside: Callable[[Engine], Any],
        intakes: Sequence[Intake] = (),
        before_leading: Callable[[Client], Awaitable[None]] | None = None,
    ) -> None:
        """`outside(engine)` makes what kinds observe with; `before_leading` prepares what plans
        need, with a client that may write; `intakes` run on every replica.
        """
        self._kinds = kinds
        self._settings = settings
        self._outside = outside
        self._intakes = intakes
        self._before_leading = before_leading
        self._metrics = Metrics()
        self._engine: Engine | None = None
        self._missing = "the objects of the cluster are not listed yet"
        self._listed = asyncio.Event()
        self._away = False

    async def run(self) -> int:
        """Work until a signal (0), or until something fails (1)."""
        settings, metrics = self._settings, self._metrics
        server = await health.serve(
            settings.metrics_port, metrics.registry, self._unhealthy, self._unready
        )
        configuration = await load_configuration()
        try:
            # The Lease has a client of its own: its renewal never waits for a connection.
            async with Client(configuration, metrics.api_request, connections=2) as own:
                lease = Lease(
                    own,
                    settings.namespace,
                    settings.lease_name,
                    _identity(settings),
                    settings.lease_seconds,
                )
                async with Client(configuration, self._request, lease.held) as client:
                    engine = Engine(self._kinds, settings, client, metrics, self._outside)
                    return await self._supervise(engine, lease, client)
        finally:
            await server.cleanup()

    # --- inside -----------------------------------------------------------------------------------
    async def _supervise(self, engine: Engine, lease: Lease, client: Client) -> int:
        self._engine = engine
        stop, kopf_stop, kopf_ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        served = await self._our_kinds(engine, client)
        kopf = asyncio.create_task(
            engine_kopf.run(engine.watches, self._settings, kopf_stop, kopf_ready)
        )
        ours = [
            asyncio.create_task(work)
            for work in (
                _signals(kopf_ready, stop),
                self._act(engine, lease, client),
                self._keep(engine),
                _new_kinds(engine, served),
            )
        ]
        done, _ = await asyncio.wait([kopf, *ours], return_when=asyncio.FIRST_COMPLETED)
        await engine.stop()
        for task in ours:
            task.cancel()
        found = [error for task in done if (error := task.exception()) is not None]
        for error in found:
            logger.error("ending: %s", error, exc_info=None if isinstance(error, Lost) else error)
        if not any(isinstance(error, Lost) for error in found):
            await _release(lease)
        kopf_stop.set()
        await asyncio.wait([kopf], timeout=5)
        return 0 if stop.is_set() else 1

    async def _our_kinds(self, engine: Engine, client: Client) -> dict[str, bool]:
        """CRDs may be installed at the same moment as the operator, or be older than it.

        While it waits it is not ready, so a roll-out leaves the operator before it at work.
        """
        before = self._missing
        kinds = [kind.resource.kind for kind in self._kinds]
        patience = time.monotonic() + PUBLISHING_SECONDS
        while True:
            pause = 1.0
            try:
                served = await engine.watches.served()
                problem = _not_installed(served)
                if not problem:
                    patient = time.monotonic() < patience
                    problem = "; ".join(await outdated(client, kinds, patient=patient))
            except errors.ApiError as error:
                problem, pause = str(error), max(pause, error.retry_after)
            if not problem:
                self._missing = before
                return served
            if problem != self._missing:
                logger.warning("waiting: %s", problem)
                self._missing = problem
            await asyncio.sleep(pause)

    async def _act(self, engine: Engine, lease: Lease, client: Client) -> None:
        """Where the Lease is free, which is the usual start, the cluster is listed once: the list
        with which leading begins is enough. A standby has one before, to begin warm.
        """
        leading = not await lease.take()
        if not leading:
            await self._list(engine)
        # On every replica: a standby says that it is one, which is an answer and not a timeout.
        parts = [asyncio.create_task(self._intake(item, engine)) for item in self._intakes]
        try:
            if not leading:
                await lease.acquire()
            # Held from the first moment, while the start of the rest may take its time.
            acting = [
                asyncio.create_task(part)
                for part in (lease.hold(), self._lead(engine, client, lease.taken_at))
            ]
            parts += acting
            done, _ = await asyncio.wait(acting, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            for part in parts:
                part.cancel()

    async def _lead(self, engine: Engine, client: Client, since: int) -> None:
        prepare = self._before_leading
        if prepare is not None:
            await until_answered(lambda: prepare(client))
        await self._list(engine, since)
        await until_answered(engine.lead)
        await asyncio.Event().wait()

    async def _list(self, engine: Engine, since: int = 0) -> None:
        await until_answered(engine.watches.begin)
        await engine.watches.relist(since)
        self._missing = ""
        self._listed.set()

    async def _keep(self, engine: Engine) -> None:
        """Until everything is listed once, both would ask for it again and again."""
        await self._listed.wait()
        await engine.watches.keep()

    async def _intake(self, intake: Intake, engine: Engine) -> None:
        """An intake that returns had nothing to do; one that fails begins again."""
        while True:
            try:
                return await intake(engine, self._settings)
            except Exception:
                logger.exception("an intake failed; it begins again")
                self._metrics.increase(INTAKE_FAILED)
            await asyncio.sleep(INTAKE_BACKOFF_SECONDS)

    def _request(self, verb: str, plural: str, status: int) -> None:
        """While reads fail the API server is away, and watches may miss something. A write may fail
        by what is in it, or by a webhook, and each time that it is tried again.
        """
        self._metrics.api_request(verb, plural, status)
        if status == 0 or status >= 500:
            self._away = self._away or verb in READS
        elif self._away and self._engine is not None:
            self._away = False
            self._engine.watches.expect_gaps()

    def _unhealthy(self) -> list[str]:
        engine = self._engine
        if engine is None:
            return []
        dead = [f"the watch of {kind} is dead" for kind in engine.watches.dead()]
        failed = engine.failed_workers()
        return dead + ([f"{failed} workers have ended"] if failed else [])

    def _unready(self) -> list[str]:
        return [self._missing] if self._missing else []


def _identity(settings: Settings) -> str:
    """The pod's UID: the same after a crash of the container, so that it goes on at once.

    Outside a pod every process is somebody else.
    """
    if settings.pod_uid != Settings.pod_uid:
        return settings.pod_uid
    return f"{settings.pod_uid}-{secrets.token_hex(4)}"


def _not_installed(served: dict[str, bool]) -> str:
    ours = f".{contract.GROUP}"
    missing = [name for name, here in served.items() if not here and name.endswith(ours)]
    if not missing:
        return ""
    return f"the CustomResourceDefinitions of {', '.join(missing)} are not installed"


async def _new_kinds(engine: Engine, served: dict[str, bool]) -> None:
    """kopf finds its resources at the start, since watching CRDs is a right we do not ask for."""
    while True:
        await asyncio.sleep(NEW_KINDS_SECONDS)
        try:
            now = await engine.watches.served()
        except errors.ApiError:
            continue
        new = [name for name, here in now.items() if here and not served[name]]
        if new:
            raise Restart(f"{', '.join(new)} can be watched now: starting again")


async def _signals(kopf_ready: asyncio.Event, stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT end us in our order; kopf has its own idea, so ours come once more."""
    _on_signals(stop.set)
    await asyncio.wait(
        [asyncio.create_task(event.wait()) for event in (kopf_ready, stop)],
        return_when=asyncio.FIRST_COMPLETED,
    )
    _on_signals(stop.set)
    await stop.wait()


def _on_signals(call: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, call)


async def _release(lease: Lease) -> None:
    try:
        async with asyncio.timeout(3):
            await lease.release()
    except (errors.ApiError, TimeoutError) as error:
        logger.warning("the Lease is not released: %s", error)
