"""The queue: each key once, one pass at a time, namespaces in turn, backoff per key."""

from __future__ import annotations

import asyncio

import pytest

from everloop.handlers.engine_queue import COMPANY_SECONDS, SHARE, Queue
from everloop.handlers.kind import Key


def key(name: str, namespace: str = "a") -> Key:
    return Key("Toy", namespace, name)


async def test_many_adds_are_one_entry() -> None:
    queue = Queue()
    for _ in range(5):
        queue.add(key("x"))
    assert len(queue) == 1
    assert await queue.get() == key("x")
    queue.done(key("x"))
    assert len(queue) == 0


async def test_a_key_is_never_in_two_hands_and_no_change_is_lost() -> None:
    queue = Queue()
    queue.add(key("x"))
    taken = await queue.get()
    queue.add(key("x"))
    queue.add(key("x"))
    assert len(queue) == 0
    assert queue.running == 1
    queue.done(taken)
    assert await queue.get() == key("x")
    queue.done(key("x"))
    assert len(queue) == 0


async def test_a_big_namespace_does_not_hold_up_a_small_one() -> None:
    queue = Queue()
    for number in range(100):
        queue.add(key(str(number), "big"))
    queue.add(key("only", "small"))
    taken = [await queue.get() for _ in range(3)]
    assert [item.namespace for item in taken] == ["big", "small", "big"]


async def test_a_namespace_has_its_share_of_passes_and_no_more() -> None:
    """All sixteen workers at once asked the API server for a flood, before anybody else's turn."""
    queue = Queue()
    queue.add(key("only", "small"))
    queue.done(await queue.get())
    for number in range(100):
        queue.add(key(str(number), "big"))
    taken = [await queue.get() for _ in range(SHARE)]
    waiting = [asyncio.create_task(queue.get()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add(key("only", "small"))
    assert await asyncio.wait_for(waiting[0], 1) == key("only", "small")
    await asyncio.sleep(0)
    assert not waiting[1].done()
    assert (len(queue), queue.running) == (100 - SHARE, SHARE + 1)
    queue.done(taken[0])
    assert (await asyncio.wait_for(waiting[1], 1)).namespace == "big"


async def test_a_namespace_that_is_alone_may_have_all() -> None:
    """Until another one has work; and again, when that has had none for a while."""
    seconds = [0.0]
    queue = Queue(lambda: seconds[0])
    for number in range(100):
        queue.add(key(str(number), "big"))
    taken = [await asyncio.wait_for(queue.get(), 1) for _ in range(SHARE + 3)]
    queue.add(key("only", "small"))
    taken.append(await queue.get())  # it is still the turn of the big one
    queue.done(await queue.get())
    refused = asyncio.create_task(queue.get())
    for _ in range(4):
        queue.done(taken.pop())
        await asyncio.sleep(0)
        assert not refused.done()
    queue.done(taken.pop())
    await asyncio.wait_for(refused, 1)
    seconds[0] += COMPANY_SECONDS
    for _ in range(SHARE):
        await asyncio.wait_for(queue.get(), 1)


@pytest.mark.parametrize("workers", [1, 16])
async def test_all_that_wait_are_taken_however_many_take(workers: int) -> None:
    queue = Queue()
    wanted = {key(str(number), space) for space in ("a", "b", "c") for number in range(40)}
    for item in wanted:
        queue.add(item)
    left = set(wanted)
    finished = asyncio.Event()
    at_once: list[int] = []

    async def work() -> None:
        while True:
            item = await queue.get()
            running = [other for other in queue._running if other.namespace == item.namespace]
            at_once.append(len(running))
            await asyncio.sleep(0)
            left.remove(item)
            queue.done(item)
            if not left:
                finished.set()

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    await asyncio.wait_for(finished.wait(), 5)
    for task in tasks:
        task.cancel()
    assert max(at_once) == min(workers, SHARE)


async def test_get_waits() -> None:
    queue = Queue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.add(key("x"))
    assert await asyncio.wait_for(waiting, 1) == key("x")


async def test_what_wakes_a_key_does_not_shorten_what_the_api_server_asked_for() -> None:
    """It got the same write again at once, from the next event of a child's."""
    queue = Queue()
    queue.add(key("x"))
    started, taken = asyncio.get_running_loop().time(), await queue.get()
    queue.add(key("x"))  # during the pass
    queue.failed(taken, at_least=1.5)
    queue.done(taken)
    queue.add_after(key("x"), 0.1)
    queue.add(key("x"))
    assert await asyncio.wait_for(queue.get(), 5) == key("x")
    assert asyncio.get_running_loop().time() - started >= 1.5
    queue.succeeded(key("x"))
    queue.done(key("x"))
    queue.add(key("x"))
    assert len(queue) == 1


async def test_the_earliest_delay_counts() -> None:
    queue = Queue()
    queue.add_after(key("x"), 3600)
    queue.add_after(key("x"), 0)
    queue.add_after(key("x"), 7200)
    assert await asyncio.wait_for(queue.get(), 1) == key("x")


async def test_a_cancelled_delay_does_not_come() -> None:
    queue = Queue()
    queue.add_after(key("x"), 0)
    queue.cancel_timer(key("x"))
    queue.add_after(key("y"), 0)
    assert await asyncio.wait_for(queue.get(), 1) == key("y")
    assert len(queue) == 0


async def test_backoff_doubles_to_a_minute_and_begins_anew_after_success() -> None:
    queue = Queue()
    delays = [queue.failed(key("x")) for _ in range(9)]
    for delay, most in zip(delays, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert most * 0.8 <= delay <= most
    assert queue.failed(key("other")) <= 1
    assert queue.failed(key("asked to wait"), at_least=7) == 7
    assert queue.backing_off == 3
    queue.succeeded(key("x"))
    assert queue.backing_off == 2
    assert queue.failed(key("x")) <= 1


@pytest.mark.parametrize("delay", [0.0, 0.001])
async def test_a_key_that_wakes_itself_may_be_slowed_down(delay: float) -> None:
    queue = Queue()
    queue.add(key("x"))
    taken = await queue.get()
    queue.add(key("x"))
    queue.done(taken, delay)
    assert len(queue) == (1 if delay == 0 else 0)
    assert await asyncio.wait_for(queue.get(), 1) == key("x")
