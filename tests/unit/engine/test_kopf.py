"""How kopf is made to begin its watches, and to keep nothing of what they tell."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import aiohttp
import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kopf._cogs.clients import patching
from kopf._cogs.structs.references import Resource as KopfResource
from kopf._core.actions.lifecycles import all_at_once
from kopf._core.engines.indexing import OperatorIndexers
from kopf._core.reactor.processing import process_resource_event

from everloop.cluster.cache import Cache
from everloop.handlers.engine_kopf import EmptyLists, Forgetful, configure
from everloop.handlers.engine_watches import Watched, Watches
from everloop.handlers.resources import JOBS as JOB_RESOURCE
from everloop.metrics import Metrics

JOBS = "/apis/batch/v1/jobs"
IN_ONE = "/apis/batch/v1/namespaces/everloop-system/jobs"
IN_ITS_OWN = "/apis/batch/v1/namespaces/team/jobs"


@pytest.mark.parametrize(
    ("path", "query", "asked", "begun"),
    [
        (JOBS, "limit=500&labelSelector=a=b", IN_ONE, [(JOBS, 7)]),
        (IN_ITS_OWN, "limit=500", IN_ITS_OWN, [(IN_ITS_OWN, 7)]),
        (JOBS, "watch=true&resourceVersion=7", JOBS, []),
    ],
    ids=["list", "list in a namespace", "watch"],
)
async def test_a_list_asks_for_one_key_and_tells_where_the_watch_begins(
    path: str, query: str, asked: str, begun: list[Any]
) -> None:
    requests: list[web.Request] = []
    heard: list[tuple[str, int]] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(request)
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    lists = EmptyLists("everloop-system", lambda *at: heard.append(at))
    async with (
        TestServer(application) as server,
        aiohttp.ClientSession(middlewares=(lists,)) as session,
        session.get(server.make_url(path).with_query(query)) as response,
    ):
        found = await response.json()
    assert found["items"] == []
    assert [request.path for request in requests] == [asked]
    assert [request.query.get("fieldSelector") for request in requests] == [
        "metadata.name=-" if begun else None
    ]
    assert requests[0].query.get("labelSelector") == ("a=b" if "label" in query else None)
    assert heard == begun


async def test_a_list_that_is_refused_begins_nothing() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"code": 403}, status=403)

    application = web.Application()
    application.router.add_get("/{path:.*}", refuse)
    heard: list[Any] = []
    async with (
        TestServer(application) as server,
        aiohttp.ClientSession(middlewares=(EmptyLists("n", lambda *at: heard.append(at)),)) as own,
        own.get(server.make_url(JOBS).with_query(limit=500)) as response,
    ):
        assert (response.status, heard) == (403, [])


class Template(dict[str, Any]):
    """A part of an object that can be seen to go."""


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Python frees what nobody refers to, and does not look for cycles."""
    gc.disable()
    yield
    gc.enable()


def make_job() -> dict[str, Any]:
    meta = {"namespace": "ml", "name": "run-1", "uid": "u", "resourceVersion": "7"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {}}


async def tell(job: dict[str, Any]) -> Cache:
    """Have kopf itself handle an event of a Job; what is known then."""
    cache, registry = Cache(), kopf.OperatorRegistry()
    settings = configure(kopf.OperatorSettings())
    unused: Any = None
    watched = [Watched(JOB_RESOURCE, labelled=True)]
    watches = Watches(watched, (), client=unused, cache=cache, metrics=Metrics(), lost=unused)
    watches.register(registry, settings)
    event: Any = {"type": "MODIFIED", "object": job}
    await process_resource_event(
        lifecycle=all_at_once,
        indexers=OperatorIndexers(),
        registry=registry,
        settings=settings,
        memories=Forgetful(),
        memobase=kopf.Memo(),
        resource=KopfResource("batch", "v1", "jobs", namespaced=True),
        raw_event=event,
        event_queue=asyncio.Queue(),
    )
    return cache


@pytest.mark.usefixtures("no_collection")
async def test_what_an_event_told_is_freed_at_once() -> None:
    """kopf's own views of it refer to each other, and to it."""
    template = Template(spec={"containers": [{"name": "train"}]})
    seen = weakref.ref(template)
    cache = await tell(make_job() | {"spec": {"template": template}})
    assert cache.get("Job", "ml", "run-1") is not None
    del template
    assert seen() is None


async def test_another_operators_finalizer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf removes its own where no handler needs it, and every operator on kopf has that name."""
    patched: list[Any] = []

    async def patch_obj(*, name: str, **_: Any) -> tuple[None, None]:
        patched.append(name)
        return None, None

    monkeypatch.setattr(patching, "patch_obj", patch_obj)
    job = make_job()
    job["metadata"]["finalizers"] = [kopf.OperatorSettings().persistence.finalizer]
    await tell(job)
    assert patched == []
