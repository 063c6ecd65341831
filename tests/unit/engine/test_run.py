"""How a process begins: one list where the Lease is free; where it is not, one to stand by with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from everloop.handlers.engine_run import Operator
from everloop.settings import Settings


class FakeEngine:
    """Tells what is done with it."""

    def __init__(self) -> None:
        self.done: asyncio.Queue[str] = asyncio.Queue()

    @property
    def watches(self) -> FakeEngine:
        return self

    async def begin(self) -> None:
        self.done.put_nowait("watch")

    async def relist(self, since: int = 0) -> None:
        self.done.put_nowait("list")

    def expect_gaps(self) -> None:
        self.done.put_nowait("gaps")

    async def keep(self) -> None:
        self.done.put_nowait("keep")

    async def lead(self) -> None:
        self.done.put_nowait("lead")


class FakeLease:
    """Held by another replica until `free` is set."""

    taken_at = 7

    def __init__(self) -> None:
        self.free = asyncio.Event()

    async def take(self) -> str:
        return "" if self.free.is_set() else "another"

    async def acquire(self) -> None:
        await self.free.wait()

    async def hold(self) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def started(engine: FakeEngine, lease: FakeLease) -> AsyncIterator[Operator]:
    operator = Operator((), Settings(), outside=lambda _: None)
    task = asyncio.create_task(operator._act(engine, lease, None))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(5):
            yield operator
    finally:
        task.cancel()


async def test_a_free_lease_is_led_with_one_list() -> None:
    engine, lease = FakeEngine(), FakeLease()
    lease.free.set()
    async with started(engine, lease) as operator:
        assert operator._unready() != []
        assert [await engine.done.get() for _ in range(3)] == ["watch", "list", "lead"]
        assert operator._unready() == []


async def test_a_standby_is_ready_with_a_list_of_its_own_and_leads_with_another() -> None:
    engine, lease = FakeEngine(), FakeLease()
    async with started(engine, lease) as operator:
        assert [await engine.done.get() for _ in range(2)] == ["watch", "list"]
        await asyncio.sleep(0)
        assert operator._unready() == []
        assert engine.done.empty()
        lease.free.set()
        assert [await engine.done.get() for _ in range(3)] == ["watch", "list", "lead"]


async def test_what_is_not_listed_yet_is_asked_for_by_the_start_alone() -> None:
    """While the API server refuses, two who ask for all kinds each second were a third too many."""
    engine = FakeEngine()
    operator = Operator((), Settings(), outside=lambda _: None)
    keeping = asyncio.create_task(operator._keep(engine))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert engine.done.empty()
    await operator._list(engine)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await keeping
    assert [engine.done.get_nowait() for _ in range(3)] == ["watch", "list", "keep"]


@pytest.mark.parametrize(
    ("verb", "status", "gaps"),
    [
        ("list", 503, True),
        ("get", 500, True),
        ("get", 0, True),
        ("get", 404, False),
        ("apply", 500, False),
        ("create", 0, False),
    ],
)
def test_a_write_that_the_api_server_cannot_do_is_no_outage(
    verb: str, status: int, gaps: bool
) -> None:
    """A slip inside of `pod` is answered with 500: each try had everything listed, too."""
    engine = FakeEngine()
    operator = Operator((), Settings(), outside=lambda _: None)
    operator._engine = engine  # type: ignore[assignment]
    operator._request(verb, "deployments", status)
    assert engine.done.empty()
    operator._request("get", "deployments", 200)
    operator._request("get", "deployments", 200)
    assert engine.done.qsize() == gaps
