"""Doors at which strangers knock: what a connection can make the operator hold is little."""

from __future__ import annotations

import socket
import ssl

from aiohttp import web

# Of each connection the kernel keeps so much until we read. TLS takes all there is at once, in
# several copies, before anybody knows whose it is: with the kernel's own bound a megabyte.
RECEIVE_BUFFER = 32 * 1024


async def listen(runner: web.AppRunner, port: int, tls: ssl.SSLContext | None) -> None:
    """Take connections on every address until the runner is cleaned up. Raises OSError."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    listening = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    await web.SockSite(runner, listening, ssl_context=tls).start()
