"""HTTP by hand, for what no client would send."""

from __future__ import annotations

import asyncio


async def raw_status(port: int | None, path: str, authorization: bytes) -> int:
    """The status that a POST without a body gets, with these bytes as its Authorization."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (
        f"POST {path} HTTP/1.1".encode(),
        b"Host: localhost",
        b"Authorization: " + authorization,
        b"Content-Length: 0",
        b"Connection: close",
    )
    writer.write(b"\r\n".join((*lines, b"", b"")))
    try:
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()
