"""What a caller with the right to it sends, up to a limit."""

from __future__ import annotations

from aiohttp import web


async def read(request: web.Request) -> bytes:
    """The body. Raises HTTPRequestEntityTooLarge beyond the application's limit, ConnectionError.

    One that says itself that it is too large is not begun: aiohttp would keep of each what it may
    hold before it looks.
    """
    limit = request.client_max_size
    if limit and (request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit)
    return await request.read()
