"""The client on a real connection: what it asks for, and when it must not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from everloop import errors
from everloop.cluster.client import Client
from everloop.cluster.credentials import Configuration

DISCOVERY = {"resources": [{"kind": "ConfigMap", "name": "configmaps"}]}
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "x", "namespace": "ml", "uid": "uid-x"},
}


@dataclass
class ApiServer:
    """Answers each request as told, and remembers what was asked."""

    answers: dict[str, web.Response] = field(default_factory=dict)  # by method
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1":
            return web.json_response(DISCOVERY)
        self.asked.append(f"{request.method} {request.raw_path}")
        return self.answers.get(request.method) or web.json_response(CONFIG)


@asynccontextmanager
async def connected(api: ApiServer, may_write: Callable[[], bool]) -> AsyncIterator[Client]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.answer)
    async with TestServer(application) as server:
        configuration = Configuration(f"http://127.0.0.1:{server.port}")
        async with Client(configuration, may_write=may_write) as client:
            yield client


def always() -> bool:
    return True


NAMES = st.one_of(
    st.sampled_from(["..", ".", "../x", "x/../../y", "x%2Fy", "x?watch=1", "x#y", "X", "x\n", "ü"]),
    st.text(min_size=1).filter(lambda text: not text.isalnum()),
)


@given(name=NAMES)
async def test_what_cannot_be_a_name_is_not_there_and_not_asked_for(name: str) -> None:
    """It may be a stranger's: the owner in a pod's metadata is any text."""
    asked: list[str] = []

    async def request(_method: str, path: str, **_: Any) -> dict[str, Any]:
        asked.append(path)
        return DISCOVERY

    client = Client(Configuration("http://nowhere"))
    client.discovery._request = client.request = request  # type: ignore[method-assign,assignment]
    plain = name == name.strip(".-") and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    found = await client.get("v1", "ConfigMap", "ml", name)
    elsewhere = await client.get("v1", "ConfigMap", name, "x")
    if not plain:
        assert found is elsewhere is None
        assert asked == []


@pytest.mark.parametrize("held", [1, 2], ids=["connects", "sends"])
async def test_who_loses_the_lease_while_it_connects_or_sends_writes_nothing(held: int) -> None:
    """It asked when the write began; the connection, and its turn to send, came later."""
    api, looks = ApiServer(), iter([True] * held + [False])
    async with connected(api, lambda: next(looks)) as client:
        await client.discovery.path("v1", "ConfigMap", None)
        with pytest.raises(errors.Transient, match="does not hold the Lease"):
            await client.create(CONFIG)
        assert api.asked == []
        assert await client.get("v1", "ConfigMap", "ml", "x") == CONFIG, "reads go on"


@pytest.mark.parametrize(
    ("live", "gone"),
    [
        (web.json_response({"reason": "NotFound"}, status=404), True),
        ({**CONFIG, "metadata": {**CONFIG["metadata"], "uid": "uid-of-a-successor"}}, True),
        (CONFIG, False),
    ],
    ids=["gone", "replaced", "still there"],
)
async def test_a_deletion_that_meets_a_conflict_is_looked_after(live: Any, gone: bool) -> None:
    refused = web.json_response({"reason": "Conflict", "message": "try again"}, status=409)
    read = live if isinstance(live, web.Response) else web.json_response(live)
    async with connected(ApiServer({"DELETE": refused, "GET": read}), always) as client:
        deleting = client.delete("v1", "ConfigMap", "ml", "x", uid="uid-x")
        if gone:
            assert await deleting is None
        else:
            with pytest.raises(errors.Transient, match="try again"):
                await deleting


async def test_how_long_the_api_server_wants_to_be_left_alone_is_told() -> None:
    busy = web.json_response({"message": "busy"}, status=429, headers={"Retry-After": "7"})
    async with connected(ApiServer({"POST": busy}), always) as client:
        with pytest.raises(errors.Transient) as told:
            await client.create(CONFIG)
    assert told.value.retry_after == 7


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "strict decoding error: unknown field", errors.Invalid),
        (500, "failed to create typed patch object (ml/x): .spec.x: field not declared in schema",
         errors.Invalid),
        (500, "etcdserver: leader changed", errors.Transient),
        (400, 'admission webhook "validate.kyverno.svc-fail" denied the request: no tag',
         errors.Forbidden),
        (422, 'jobs.batch "x" is forbidden: ValidatingAdmissionPolicy \'p\' with binding \'p\' '
         "denied request: no tag", errors.Forbidden),
        (422, 'Job.batch "x" is invalid: spec', errors.Invalid),
    ],
)  # fmt: skip
def test_what_is_tried_again_and_what_is_not(
    status: int, message: str, kind: type[errors.ApiError]
) -> None:
    assert type(errors.from_status(status, {"message": message})) is kind
