"""How kopf is made to begin its watches."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from everloop.handlers.engine_kopf import EmptyLists

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
