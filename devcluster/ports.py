"""Free ports of loopback."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """Unused ones; all are held until the last is found, so they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports
