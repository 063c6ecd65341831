"""The replay sends each flight once, when it is due, in V2 form; and counts what fails."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import aiohttp
import pandas as pd
import pytest
from aiohttp import web

DAY = 0.4  # seconds
FIRST, SECOND = date(2013, 1, 1), date(2013, 1, 2)


class Server:
    """Answers 200, or what `status` says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: list[tuple[float, dict[str, Any]]] = []

    async def infer(self, request: web.Request) -> web.Response:
        self.asked.append((time.monotonic(), json.loads(await request.text())))
        return web.Response(status=self.status, text="said by the server")


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    model = Server()
    app = web.Application()
    app.router.add_post("/infer", model.infer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield model, f"http://127.0.0.1:{port}/infer"
    await runner.cleanup()


@pytest.fixture
def labelled(flights: pd.DataFrame, weather: pd.DataFrame) -> Any:
    from demo.data import Flights
    from prepare_data import labelled_flights

    return Flights(labelled_flights(flights, weather))


async def test_sends_each_flight_of_the_share_once_and_in_order(
    server: tuple[Server, str], labelled: Any
) -> None:
    from demo.replay import Replay

    model, url = server
    async with aiohttp.ClientSession() as session:
        replay = Replay(session, url, labelled, DAY)
        began = time.monotonic()
        last = await replay.play(FIRST, SECOND, one_in=2)
        assert time.monotonic() - began >= 2 * DAY
        await replay.drain()
    assert last == SECOND
    rows = labelled.rows[labelled.rows["day"].isin([str(FIRST), str(SECOND)])]
    wanted = [
        one
        for one in rows["flight_id"]
        if int(hashlib.sha256(one.encode()).hexdigest(), 16) % 2 == 0
    ]
    assert sorted(body["id"] for _, body in model.asked) == sorted(wanted)
    assert (replay.tally.sent, replay.tally.failed) == (len(wanted), 0)


async def test_a_flight_is_sent_when_it_is_due(server: tuple[Server, str], labelled: Any) -> None:
    from demo.replay import Replay

    model, url = server
    async with aiohttp.ClientSession() as session:
        replay = Replay(session, url, labelled, 2.4)
        began = time.monotonic()
        await replay.play(FIRST, FIRST, one_in=1)
        await replay.drain()
    due = {flight.id: flight.second / 86400 * 2.4 for flight in labelled.of_day(FIRST, 1)}
    assert min(due.values()) > 0.5  # nobody flies at night
    for moment, body in model.asked:
        assert moment - began >= due[body["id"]]


async def test_rows_are_v2_inputs_with_null_for_what_is_missing(
    server: tuple[Server, str], labelled: Any
) -> None:
    from demo.data import request
    from flights import INPUTS

    rows, labels = labelled.between(FIRST, FIRST)
    body = request(rows[:3], "three")
    assert [one["name"] for one in body["inputs"]] == INPUTS
    assert all(one["shape"] == [3, 1] and len(one["data"]) == 3 for one in body["inputs"])
    kinds = {one["name"]: one["datatype"] for one in body["inputs"]}
    assert (kinds["carrier"], kinds["distance"], kinds["pressure"]) == ("BYTES", "INT64", "FP64")
    text = json.dumps(request(rows, "all"), allow_nan=False)
    assert "null" in text
    assert set(labels) == {0, 1}


async def test_failures_are_counted_and_told(server: tuple[Server, str], labelled: Any) -> None:
    from demo.replay import Replay

    model, url = server
    model.status = 503
    async with aiohttp.ClientSession() as session:
        replay = Replay(session, url, labelled, DAY)
        await replay.play(FIRST, FIRST)
        await replay.drain()
    assert replay.tally.failed == replay.tally.sent > 0
    assert "503: said by the server" in replay.tally.failures[0]


async def test_stops_after_the_day_that_runs(server: tuple[Server, str], labelled: Any) -> None:
    from demo.replay import Replay

    _, url = server
    stop, days = asyncio.Event(), []

    async def after(day: date) -> None:
        days.append(day)
        stop.set()

    async with aiohttp.ClientSession() as session:
        replay = Replay(session, url, labelled, DAY)
        last = await replay.play(FIRST, date(2013, 1, 9), stop=stop, after_day=after)
        await replay.drain()
    # told of the first day while the second ran
    assert days == [FIRST, SECOND]
    assert last == SECOND
