"""kopf as we use it: authentication and watching. Each setting answers a bug somebody had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import kopf

# kopf.operator takes one, but its type is not exported
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from everloop.cluster import client, credentials
from everloop.handlers.engine_watches import Watches
from everloop.settings import Settings

PAUSE_SECONDS = 0.02  # without an event: what was listed is handled
MOST_PAUSE_SECONDS = 2.0  # events of a busy cluster must not hold up a list for ever


class Patience:
    """Delays (in seconds) between attempts: a watch waits for the API server however long.

    kopf's own list ends after 54 s, and so does the process.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5)
        while True:
            yield 1.0


class NoMemory(kopf.AnnotationsDiffBaseStorage):
    """kopf's memory of what changed, which costs a deep copy of every object of every event.

    Nothing asks for it: we compare with the cluster, not with what was handled last.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """The essence of an object: nothing."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """What was handled last: unknown."""
        return None


class Forgetful(ResourceMemories):
    """kopf's memory of every object, which is for handlers that we do not use: a kilobyte each."""

    async def recall(self, *args: Any, **options: Any) -> ResourceMemory:
        """A memory that nobody keeps."""
        return await super().recall(*args, **options | {"ephemeral": True})


class Pace:
    """Lets kopf list no faster than events are handled.

    It queues whole lists as they come; the objects of a big cluster, as JSON, would fill a gigabyte
    before the first thousand of them are handled.
    """

    def __init__(self, begins: Callable[[str], None]) -> None:
        """`begins(path)` hears of every list that begins."""
        self._begins = begins
        self._handled = 0.0

    def handled(self) -> None:
        """An event was handled now."""
        self._handled = time.monotonic()

    async def before_request(
        self, _session: aiohttp.ClientSession, _context: SimpleNamespace, request: Any
    ) -> None:
        """Called before each request of kopf: a page waits for a pause in what is handled."""
        query = request.url.query
        if "limit" not in query:
            return
        if "continue" not in query:
            self._begins(request.url.path)
            return
        patience = time.monotonic() + MOST_PAUSE_SECONDS
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            now = time.monotonic()
            if now > patience or now - self._handled >= PAUSE_SECONDS:
                return


async def run(
    watches: Watches, settings: Settings, stop: asyncio.Event, ready: asyncio.Event
) -> None:
    """Watch until `stop`."""
    registry = kopf.OperatorRegistry()
    options = configure(kopf.OperatorSettings())
    pace = Pace(watches.begins)

    async def login(**_: Any) -> kopf.AiohttpSession:
        return await _login(pace)

    kopf.on.login(registry=registry)(login)
    watches.register(registry, options, pace.handled)
    await kopf.operator(
        registry=registry,
        settings=options,
        memories=Forgetful(),
        standalone=True,  # peering is no leader election (kopf#734): see cluster/lease.py
        # else kopf looks up the user's name, which no container has (the type is not exported)
        identity=settings.pod_uid,  # type: ignore[arg-type]
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        stop_flag=stop,
        ready_flag=ready,
    )


def configure(options: kopf.OperatorSettings) -> kopf.OperatorSettings:
    """Our settings over kopf's defaults."""
    options.posting.enabled = False  # events are ours (cluster/events.py)
    options.scanning.disabled = True  # else it wants to watch CRDs and namespaces
    options.networking.request_timeout = 30.0  # the default is five minutes
    options.networking.connect_timeout = 5.0
    options.networking.error_backoffs = Patience()
    options.watching.connect_timeout = 5.0
    options.watching.chunk_size = client.PAGE
    options.persistence.diffbase_storage = NoMemory()
    options.queueing.worker_limit = 100
    options.queueing.idle_timeout = 0.05  # an idle worker holds its place: 5 s would starve us
    options.queueing.error_delays = (1.0, 2.0, 5.0, 10.0)
    options.process.ultimate_exiting_timeout = 20.0
    return options


async def _login(pace: Pace) -> kopf.AiohttpSession:
    """The same credentials as our own client's; asked again when the API server answers 401."""
    found = credentials.load()
    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(pace.before_request)
    token = found.token()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.ssl_context()),
        headers={"User-Agent": "everloop-watch"}
        | ({"Authorization": f"Bearer {token}"} if token else {}),
        trust_env=credentials.behind_proxy(),
        trace_configs=[tracing],
    )
    return kopf.AiohttpSession(server=found.server, aiohttp_session=session)
