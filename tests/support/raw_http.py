"""HTTP by hand, for what no client would send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serving(application: web.Application) -> AsyncIterator[int]:
    """The port of a server as ours is run; aiohttp's for tests ends a handler whose caller goes."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def raw_status(port: int | None, path: str, authorization: bytes) -> int:
    """The status that a POST without a body gets, with these bytes as its Authorization."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_head(path, authorization, 0))
    try:
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


async def hang_up(port: int | None, path: str, token: str) -> None:
    """POST the beginning of a body, and go."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_head(path, f"Bearer {token}".encode(), 1000) + b"{")
    await writer.drain()
    await asyncio.sleep(0.05)  # the server has begun to read
    writer.transport.abort()


def _head(path: str, authorization: bytes, length: int) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1".encode(),
        b"Host: localhost",
        b"Authorization: " + authorization,
        f"Content-Length: {length}".encode(),
        b"Connection: close",
    )
    return b"\r\n".join((*lines, b"", b""))
