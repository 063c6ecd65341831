"""kopf as we use it: authentication and watching. Each setting answers a bug somebody had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import aiohttp
import kopf

# kopf.operator takes one, but its type is not exported
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from everloop import contract
from everloop.cluster import client, credentials, objects
from everloop.handlers.engine_watches import Watches
from everloop.settings import Settings

NOTHING = {"fieldSelector": "metadata.name=-"}  # no object has such a name


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


class EmptyLists:
    """Has kopf begin its watches without a list of what there is.

    Before a watch kopf lists everything, and handles each object as an event: with thousands of
    them it would see nothing new for many seconds, and hold them all in memory. Of the answer we
    need the version alone; what there is, our own list tells, which begins afterwards. So one name
    in one namespace is asked for: that is one key for the API server to read, from etcd itself. A
    version from a cache that is behind would have the watch tell of objects that are long gone.
    """

    def __init__(self, namespace: str, begun: Callable[[str, int], None]) -> None:
        """`begun(path, version)` hears of every watch that begins, and where."""
        self._namespace = namespace
        self._begun = begun

    async def __call__(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request of kopf; of those, only lists have a limit."""
        if "limit" not in request.url.query:
            return await send(request)
        path = request.url.path
        request.url = request.url.with_path(self._in_one(path), keep_query=True)
        request.url = request.url.update_query(NOTHING)
        response = await send(request)
        if response.status == HTTPStatus.OK:
            self._begun(path, objects.version(await response.json()))
        return response

    def _in_one(self, path: str) -> str:
        """The path of the same list in one namespace."""
        if "/namespaces/" in path:
            return path
        version, _, plural = path.rpartition("/")
        return f"{version}/namespaces/{self._namespace}/{plural}"


async def run(
    watches: Watches, settings: Settings, stop: asyncio.Event, ready: asyncio.Event
) -> None:
    """Watch until `stop`."""
    registry = kopf.OperatorRegistry()
    options = configure(kopf.OperatorSettings())

    async def login(**_: Any) -> kopf.AiohttpSession:
        return await _login(EmptyLists(settings.namespace, watches.begun))

    kopf.on.login(registry=registry)(login)
    watches.register(registry, options)
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
    # Of kopf's own name, which any other operator may have on our objects, it would take it away
    options.persistence.finalizer = f"{contract.GROUP}/kopf"
    options.queueing.worker_limit = 100
    options.queueing.idle_timeout = 0.05  # an idle worker holds its place: 5 s would starve us
    options.queueing.error_delays = (1.0, 2.0, 5.0, 10.0)
    options.process.ultimate_exiting_timeout = 20.0
    return options


async def _login(lists: EmptyLists) -> kopf.AiohttpSession:
    """The same credentials as our own client's; asked again when the API server answers 401."""
    found = credentials.load()
    token = found.token()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.ssl_context()),
        headers={"User-Agent": "everloop-watch"}
        | ({"Authorization": f"Bearer {token}"} if token else {}),
        trust_env=credentials.behind_proxy(),
        middlewares=(lists,),
    )
    return kopf.AiohttpSession(server=found.server, aiohttp_session=session)
