"""When a kind is listed, and when what a list found proves its watch dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import kopf
import pytest

from everloop import errors
from everloop.cluster.cache import Cache
from everloop.handlers import engine_patience, engine_watches
from everloop.handlers.engine_watches import Watched, Watches
from everloop.handlers.kind import Resource
from everloop.handlers.resources import JOBS, PODS
from everloop.metrics import Metrics

BEGINS = "/apis/batch/v1/jobs"  # the path of a list that kopf makes


@dataclass
class FakeClient:
    """Counts lists; each takes some seconds, or until it is let go."""

    seconds: float = 0.0
    items: list[dict[str, Any]] = field(default_factory=list)
    held: asyncio.Event | None = None
    lists: int = 0
    version: int = 9  # of lists
    fields: str = ""  # the selector of the last one
    refused: dict[str, list[errors.ApiError]] = field(default_factory=dict)  # by kind, next first
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)  # for lists of these kinds

    @property
    def discovery(self) -> FakeClient:
        return self

    async def served(self, _version: str, _kind: str) -> bool:
        return True

    async def pages(
        self, _version: str, kind: str, _namespace: str | None, labels: str, fields: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        self.asked.append(kind)
        if self.refused.get(kind):
            raise self.refused[kind].pop(0)
        if labels == engine_watches.SELECTOR:
            self.fields = fields
            self.lists += 1
            self.begun.set()
            await asyncio.sleep(self.seconds)
            if self.held is not None:
                await self.held.wait()
        yield {"metadata": {"resourceVersion": str(self.version)}, "items": self.items}


def make_watches(
    client: FakeClient,
    cache: Cache | None = None,
    put_right: Any = None,
    *resources: Resource,
) -> Watches:
    async def lost(item: Any) -> bool:
        return put_right is not None and put_right(item) is None

    return Watches(
        [Watched(resource, labelled=True) for resource in resources or (JOBS,)],
        [],
        client=client,  # type: ignore[arg-type]
        cache=cache or Cache(),
        metrics=Metrics(),
        lost=lost,
    )


@contextmanager
def keeping(watches: Watches) -> Iterator[None]:
    task = asyncio.create_task(watches.keep())
    try:
        yield
    finally:
        with suppress(asyncio.CancelledError):
            task.cancel()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_watches, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(engine_watches, "AGAIN_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("resource", "fields"), [(JOBS, ""), (PODS, "status.phase!=Succeeded")], ids=["Job", "Pod"]
)
async def test_of_pods_only_those_that_have_not_succeeded_are_watched_and_listed(
    resource: Resource, fields: str
) -> None:
    client, settings = FakeClient(), kopf.OperatorSettings()
    watches = make_watches(client, None, None, resource)
    watches.register(kopf.OperatorRegistry(), settings)
    await watches.relist()
    assert client.fields == fields
    assert [*settings.watching.field_selectors.values()] == ([fields] if fields else [])


async def test_a_start_asks_again_for_what_was_refused_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All were asked for again, beside those still under way: they piled up without bound."""
    monkeypatch.setattr(engine_patience, "FIRST_PAUSE", 0.05)
    client = FakeClient(refused={"Pod": [errors.Forbidden("no", 403), errors.Transient("", 503)]})
    await make_watches(client, None, None, JOBS, PODS).relist()
    assert sorted(client.asked) == ["Job", "Pod", "Pod", "Pod"]


async def test_an_api_server_that_wants_to_be_left_alone_is() -> None:
    client = FakeClient(refused={"Job": [errors.Transient("too many", 429, retry_after=1.5)]})
    started = time.monotonic()
    await make_watches(client).relist()
    assert time.monotonic() - started >= 1.5


async def test_a_list_answers_all_who_asked_before_it() -> None:
    client = FakeClient()
    watches = make_watches(client)
    with keeping(watches):
        watches.begun(BEGINS, 1)
        watches.expect_gaps()
        await watches.relist()
        await asyncio.sleep(0.3)
    assert client.lists == 1


async def test_who_asks_while_a_list_is_under_way_gets_another() -> None:
    client = FakeClient(held=asyncio.Event())
    watches = make_watches(client)
    assert client.held is not None
    with keeping(watches):
        watches.begun(BEGINS, 1)
        await client.begun.wait()
        watches.begun(BEGINS, 1)  # the list may have gone past what it missed
        client.held.set()
        await asyncio.sleep(0.3)
    assert client.lists == 2


async def test_what_is_due_all_the_time_is_listed_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A quarter of all requests failed, and each had all kinds listed anew, twice a second."""
    monkeypatch.setattr(engine_watches, "AGAIN_SECONDS", 0.5)
    client = FakeClient()
    watches = make_watches(client)
    began = [time.monotonic()]
    with keeping(watches):
        while len(began) < 4:
            watches.expect_gaps()
            await asyncio.sleep(0.01)
            if client.lists == len(began):
                began.append(time.monotonic())
    first, *others = (after - before for before, after in pairwise(began))
    assert first < 0.5, "who asks for the first time does not wait for long"
    assert min(others) > 0.4


@pytest.mark.parametrize(("seconds", "again"), [(0.0, True), (0.2, False)])
async def test_what_takes_long_is_listed_rarely(
    seconds: float, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a tenth of the time, 0.2 s a list are worth one in 2 s."""
    monkeypatch.setattr(engine_watches, "RELIST_SECONDS", 0.01)
    monkeypatch.setattr(engine_watches, "RELIST_SHARE", 0.1)
    client = FakeClient(seconds)
    with keeping(make_watches(client)):
        await asyncio.sleep(0.5)
    assert (client.lists > 1) is again


@pytest.mark.parametrize(("count", "listed"), [(0, True), (20, False)])
async def test_what_has_grown_since_its_last_list_is_listed_rarely(
    count: int, listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator that began with an empty cluster, whose list took no time."""
    monkeypatch.setattr(engine_watches, "RELIST_SECONDS", 0.1)
    client, cache = FakeClient(), Cache()
    with keeping(make_watches(client, cache)):
        await asyncio.sleep(0.01)  # it waits now
        for number in range(count):  # each is worth a second
            cache.put(make_job(f"job-{number}", number + 1))
        await asyncio.sleep(0.4)
    assert (client.lists > 0) is listed


def make_job(name: str, version: int) -> dict[str, Any]:
    meta = {"name": name, "namespace": "n", "uid": name, "resourceVersion": str(version)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta}


async def test_a_list_that_is_first_to_see_an_owner_taken_has_it_put_right() -> None:
    """Else the event that follows would be no news, and nobody would put it back."""
    owned = make_job("job", 1)
    owner = {"uid": "run", "kind": "TrainingRun", "name": "run", "controller": True}
    owned["metadata"]["ownerReferences"] = [owner]
    client, cache, put_right = FakeClient(items=[owned]), Cache(), []
    watches = make_watches(client, cache, put_right.append)
    await watches.relist()
    client.items = [make_job("job", 2)]
    await watches.relist()
    assert put_right == client.items
    known = cache.get("Job", "n", "job")
    assert known is not None
    assert known["metadata"]["ownerReferences"], "until then it is not taken for a stranger's"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(engine_watches.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeClient, Watches, Any]:
    """A watch that began at version 4, and the handler that kopf calls with its events."""
    handlers: list[Any] = []
    monkeypatch.setattr(kopf.on, "event", lambda *_, **__: handlers.append)
    client = FakeClient(items=[make_job("old", 4)])
    watches = make_watches(client)
    settings: Any = SimpleNamespace(watching=SimpleNamespace(label_selectors={}))
    watches.register(kopf.OperatorRegistry(), settings)
    watches.begun(BEGINS, 4)
    return client, watches, handlers[0]


async def test_a_watch_that_does_not_tell_what_a_list_found_is_dead(
    clock: SimpleNamespace, watch: tuple[FakeClient, Watches, Any]
) -> None:
    client, watches, tell = watch
    await watches.relist()
    client.items = [make_job("missed", 8)]
    await watches.relist()
    clock.seconds += 50
    await tell(event={"type": "ADDED", "object": make_job("older", 5)})
    assert watches.dead() == []
    clock.seconds += 50
    assert watches.dead() == ["Job.batch"]
    await tell(event={"type": "ADDED", "object": make_job("missed", 8)})
    assert watches.dead() == []


@pytest.mark.parametrize("first", ["begun", "listed"])
async def test_a_watch_need_not_tell_what_was_before_it(
    first: str, clock: SimpleNamespace, watch: tuple[FakeClient, Watches, Any]
) -> None:
    """After "410 Gone" it begins anew, and in a quiet cluster tells of nothing for long."""
    client, watches, _ = watch
    client.items = [make_job("between", 8)]
    if first == "begun":
        watches.begun(BEGINS, 8)
        await watches.relist()
    else:
        await watches.relist()
        watches.begun(BEGINS, 8)
    clock.seconds += 100
    assert watches.dead() == []
    client.items.append(make_job("after", 9))
    await watches.relist()
    clock.seconds += 100
    assert watches.dead() == ["Job.batch"]


async def test_a_list_that_is_older_than_its_watch_is_not_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What happened in between would be told by neither; nor is what it lacks gone."""
    client, cache = FakeClient(items=[make_job("old", 4)]), Cache()
    cache.put(make_job("new", 9))
    watches = make_watches(client, cache)
    watches.begun(BEGINS, 10)  # the client's lists are of version 9
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await watches.relist()
    assert "older than their watch" in caplog.text
    assert cache.names("Job", "n") == ["new"]


@pytest.mark.parametrize(("begun", "waits"), [(True, False), (False, True)])
async def test_a_start_waits_for_its_watches_but_not_for_ever(
    begun: bool, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_watches, "BEGIN_SECONDS", 0.2)
    watches = make_watches(FakeClient())
    if begun:
        watches.begun(BEGINS, 1)
    started = asyncio.get_running_loop().time()
    await watches.begin()
    assert (asyncio.get_running_loop().time() - started > 0.15) is waits


async def test_a_start_waits_for_lists_as_new_as_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API server whose cache is behind shows what was before the last operator's writes."""
    monkeypatch.setattr(engine_watches, "FRESH_AGAIN_SECONDS", 0.05)
    client, cache = FakeClient(version=9, items=[make_job("a", 8)]), Cache()
    watches = make_watches(client, cache)
    starting = asyncio.create_task(watches.relist(since=10))
    await asyncio.sleep(0.2)
    assert not starting.done()
    assert cache.get("Job", "n", "a") is None
    client.version = 10
    await starting
    assert cache.get("Job", "n", "a") is not None


async def test_a_start_does_not_wait_for_ever_where_versions_do_not_compare(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_watches, "FRESH_SECONDS", 0.2)
    monkeypatch.setattr(engine_watches, "FRESH_AGAIN_SECONDS", 0.05)
    cache = Cache()
    await make_watches(FakeClient(items=[make_job("a", 8)]), cache).relist(since=10**9)
    assert cache.get("Job", "n", "a") is not None
    assert "older than our Lease" in caplog.text
