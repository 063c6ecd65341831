"""kopf as we use it: authentication and watching. Each setting answers a bug somebody had."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import kopf

from everloop.cluster import credentials
from everloop.handlers.engine_watches import Watches
from everloop.settings import Settings


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


async def run(
    watches: Watches, settings: Settings, stop: asyncio.Event, ready: asyncio.Event
) -> None:
    """Watch until `stop`."""
    registry = kopf.OperatorRegistry()
    options = configure(kopf.OperatorSettings())
    kopf.on.login(registry=registry)(login)
    watches.register(registry, options)
    await kopf.operator(
        registry=registry,
        settings=options,
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
    options.watching.chunk_size = 500
    options.persistence.diffbase_storage = NoMemory()
    options.queueing.worker_limit = 100
    options.queueing.idle_timeout = 0.05  # an idle worker holds its place: 5 s would starve us
    options.queueing.error_delays = (1.0, 2.0, 5.0, 10.0)
    options.process.ultimate_exiting_timeout = 20.0
    return options


async def login(**_kwargs: Any) -> kopf.AiohttpSession:
    """The same credentials as our own client's; asked again when the API server answers 401."""
    found = credentials.load()
    token = found.token()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.ssl_context()),
        headers={"User-Agent": "everloop-watch"}
        | ({"Authorization": f"Bearer {token}"} if token else {}),
        trust_env=credentials.behind_proxy(),
    )
    return kopf.AiohttpSession(server=found.server, aiohttp_session=session)
