"""The client against a server that answers as Prometheus does, and as it should not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from everloop.prometheus.client import Prometheus, PrometheusUnavailable

RULES = {
    "groups": [
        {
            "name": "everloop/ml/watch/drift/abc",
            "lastEvaluation": "2026-01-02T03:04:05.123456789Z",
            "rules": [
                {
                    "name": "EverloopInputDrift",
                    "type": "alerting",
                    "health": "ok",
                    "labels": {"everloop_monitor": "watch"},
                    "alerts": [
                        {
                            "labels": {"alertname": "EverloopInputDrift"},
                            "annotations": {},
                            "state": "firing",
                            "activeAt": "2026-01-02T05:04:05.606021440+02:00",
                            "value": "2.2e+00",
                        }
                    ],
                }
            ],
        },
        {"name": "new", "lastEvaluation": "0001-01-01T00:00:00Z", "rules": [{"name": "x"}]},
        {"name": "nothing-matched", "rules": []},
    ]
}


def ask(
    answer: Any, question: Callable[[Prometheus], Awaitable[Any]], status: int = 200
) -> tuple[Any, list[web.Request]]:
    """What the client makes of an answer, and the requests it sent."""
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request)
        if isinstance(answer, str):
            return web.Response(text=answer, status=status)
        return web.json_response(answer, status=status)

    async def scenario() -> Any:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        async with TestServer(app) as server:
            client = Prometheus(str(server.make_url("")), timeout_seconds=2)
            try:
                return await question(client)
            finally:
                await client.close()

    return asyncio.run(scenario()), seen


def test_a_vector() -> None:
    data = {
        "resultType": "vector",
        "result": [{"metric": {"feature": "temp"}, "value": [1.5, "+Inf"]}],
    }
    found, seen = ask({"status": "success", "data": data}, lambda client: client.query("x"))
    assert [(dict(item.labels), item.value, item.time) for item in found] == [
        ({"feature": "temp"}, float("inf"), 1.5)
    ]
    assert (seen[0].method, seen[0].path) == ("POST", "/api/v1/query")


def test_a_scalar_is_one_sample() -> None:
    data = {"resultType": "scalar", "result": [7, "2"]}
    found, _ = ask({"data": data}, lambda client: client.query("scalar(x)"))
    assert [(item.value, item.time) for item in found] == [(2.0, 7.0)]


def test_rules_with_their_alerts() -> None:
    found, seen = ask({"data": RULES}, lambda client: client.rules('{a="b"}'))
    assert [(group.name, group.evaluated) for group in found] == [
        ("everloop/ml/watch/drift/abc", True),
        ("new", False),
    ]
    (alert,) = found[0].alerts
    assert alert.active_at == datetime(2026, 1, 2, 3, 4, 5, 606021, tzinfo=UTC)
    assert (alert.state, alert.value) == ("firing", 2.2)
    assert seen[0].query["match[]"] == '{a="b"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [("15d", 1296000), ("1h30m", 5400), ("2w or 5GB", 1209600), ("1y", 31536000), ("5GB", None)],
)
def test_retention(text: str, expected: float | None) -> None:
    answer = {"data": {"storageRetention": text}}
    assert ask(answer, lambda client: client.retention_seconds())[0] == expected


def test_retention_is_unknown_where_the_api_has_none() -> None:
    found, _ = ask("404 page not found", lambda client: client.retention_seconds(), status=404)
    assert found is None


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        ({"status": "error", "error": "parse error at char 3"}, 400, "parse error at char 3"),
        ("<html>Bad gateway</html>", 502, "HTTP 502"),
        ("<html>Log in</html>", 200, "prometheus.url"),
        ({"data": {"resultType": "matrix", "result": [{"metric": {}}]}}, 200, "instant vector"),
        ({"data": None}, 200, "instant vector"),
    ],
    ids=["bad-query", "proxy", "login-page", "matrix", "nothing"],
)
def test_whatever_else_is_unavailable(answer: Any, status: int, says: str) -> None:
    with pytest.raises(PrometheusUnavailable, match=says):
        ask(answer, lambda client: client.query("x"), status)


def test_rules_that_cannot_be_read_are_unavailable() -> None:
    with pytest.raises(PrometheusUnavailable, match=r"prometheus\.url"):
        ask({"data": {"groups": [{"rules": [{}]}]}}, lambda client: client.rules("{}"))


def test_nobody_there(unused_tcp_port: int) -> None:
    async def scenario() -> None:
        client = Prometheus(f"http://127.0.0.1:{unused_tcp_port}")
        try:
            await client.query("x")
        finally:
            await client.close()

    with pytest.raises(PrometheusUnavailable, match="no answer from"):
        asyncio.run(scenario())


def test_a_slow_answer_is_not_waited_for() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async def scenario() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", slow)
        async with TestServer(app, shutdown_timeout=0.1) as server:
            client = Prometheus(str(server.make_url("")), timeout_seconds=0.2)
            try:
                await client.query("x")
            finally:
                await client.close()

    with pytest.raises(PrometheusUnavailable, match="TimeoutError"):
        asyncio.run(scenario())


def test_who_takes_no_connection_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a NetworkPolicy drops what we send: each pass that asks would stand still."""
    monkeypatch.setattr("everloop.prometheus.client.CONNECT_SECONDS", 0.2)

    async def scenario(url: str) -> None:
        client = Prometheus(url, timeout_seconds=60)
        try:
            await asyncio.wait_for(client.query("x"), 10)
        finally:
            await client.close()

    with contextlib.ExitStack() as open_:
        full = open_.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # nobody accepts them, and the kernel answers no other
            filling = open_.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(full.getsockname())
        with pytest.raises(PrometheusUnavailable, match="onnection timeout"):
            asyncio.run(scenario(f"http://127.0.0.1:{full.getsockname()[1]}"))
