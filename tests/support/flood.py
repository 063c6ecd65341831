"""Requests that are sent when they are due, whether or not those before have been answered.

By hand, since a client that waits for answers sends as many as it gets, and calls it a flood.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Door:
    """Where requests go; without `tls` they are sent as they are."""

    port: int
    tls: ssl.SSLContext | None = None

    async def open(self) -> Line:
        return Line(*await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls))


@dataclass(frozen=True)
class Sent:
    """What came of a flood, and how many a second were sent, and were answered."""

    answers: Counter[int]
    offered: float
    answered: float


class Line:
    """One connection. Answers come in the order of requests, however many are under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, request: bytes) -> None:
        self._writer.write(request)

    async def status(self) -> int:
        """Of the next answer, which is read to its end."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert length, head
        await self._reader.readexactly(int(length[1]))
        return int(head.split(maxsplit=2)[1])

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):  # the server was faster
            await self._writer.wait_closed()


def request(method: str, path: str, token: str, *, keep: bool = True) -> bytes:
    """One with an empty JSON object as its body, and no Authorization where there is no token."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [] if keep else ["Connection: close"]
    body = "{}" if method == "POST" else ""
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


@asynccontextmanager
async def lines(door: Door, count: int) -> AsyncIterator[list[Line]]:
    """Connections that are kept."""
    opened = [await door.open() for _ in range(count)]
    try:
        yield opened
    finally:
        await asyncio.gather(*(line.close() for line in opened))


async def flood(opened: Sequence[Line], requests: Sequence[bytes], rate: float) -> Sent:
    """The requests in turn on these connections, `rate` a second."""
    pace = _Pace(rate)

    async def send() -> None:
        for number, text in enumerate(requests):
            await pace.due(number)
            opened[number % len(opened)].send(text)

    async def read(line: Line, count: int) -> None:
        for _ in range(count):
            pace.answer(await line.status())

    counts = [len(requests[place :: len(opened)]) for place in range(len(opened))]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(send(), *map(read, opened, counts))
    return pace.sent()


async def flood_anew(door: Door, requests: Sequence[bytes], rate: float) -> Sent:
    """Each request on a connection of its own, which it opens when it is due."""
    pace = _Pace(rate)

    async def one(text: bytes) -> None:
        line = await door.open()
        line.send(text)
        pace.answer(await line.status())
        await line.close()

    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        for number, text in enumerate(requests):
            await pace.due(number)
            tasks.create_task(one(text))
    return pace.sent()


class _Pace:
    """When the next request is due, and what has come of those before. One that is late waits for
    nothing, so that a moment in which this process had no processor is made up for."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._started = self._sent = self._answered = self._loop.time()
        self._count = 0
        self._answers: Counter[int] = Counter()

    async def due(self, number: int) -> None:
        late = self._loop.time() - self._started - number / self._rate
        await asyncio.sleep(max(0.0, -late))
        self._sent, self._count = self._loop.time(), number + 1

    def answer(self, status: int) -> None:
        self._answers[status] += 1
        self._answered = self._loop.time()

    def sent(self) -> Sent:
        answered = self._answers.total() / (self._answered - self._started)
        return Sent(self._answers, self._count / (self._sent - self._started), answered)
