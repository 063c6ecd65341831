"""What stands in front of MLServer's REST application: readiness, counting, and what is closed.

MLServer says ready while it has no model at all, lets anyone unload one, and sees no request that
it cannot parse. So the health check, the counters and the list of paths are here.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from everloop_server.metrics import MALFORMED, NOT_FOUND, OTHER, Metrics
from everloop_server.runtime import OUTCOME, Outcome
from everloop_server.signature import TOO_LARGE

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

READY_PATH: Final = "/v2/health/ready"
INFER: Final = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer")
# One model, loaded once, from bytes whose digest was compared: nobody may load or unload another.
# Streams and `generate` are for language models.
CLOSED: Final = re.compile(r"/v2/repository(/.*)?|.*/(generate|generate_stream|infer_stream)")
MAX_BODY_BYTES: Final = 64 * 2**20


class Gate:
    """An ASGI application around another. `ready` and `draining` are set by the server."""

    def __init__(self, inner: Application, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self.ready = False
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        path = scope["path"]
        if path == READY_PATH:
            ready = self.ready and not self.draining
            await self._reply(send, 200 if ready else 503, {"ready": ready})
        elif CLOSED.fullmatch(path):
            await self._reply(send, 404, {"error": f"{path} is not offered by this server"})
        elif scope["method"] == "POST" and INFER.fullmatch(path):
            await self._infer(scope, receive, send)
        else:
            await self._inner(scope, receive, self._closing(send))

    async def _infer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        outcome = Outcome()
        token = OUTCOME.set(outcome)
        status = 500  # unless an answer says otherwise

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if _content_length(scope) > MAX_BODY_BYTES:
                outcome.reason = TOO_LARGE
                text = f"the body is over {MAX_BODY_BYTES >> 20} MiB; send fewer rows in a request"
                await self._reply(watch, 413, {"error": text})
            elif not self.ready:
                await self._reply(watch, 503, {"error": "the model is not loaded yet"})
            else:
                await self._inner(_as_json(scope), receive, self._closing(watch))
        finally:
            OUTCOME.reset(token)
            self._metrics.requests.inc()
            self._metrics.duration.observe(time.perf_counter() - started)
            if status >= 500:
                self._metrics.errors.inc()
            elif status >= 400:
                self._metrics.invalid(outcome.reason or _reason(status))

    def _closing(self, send: Send) -> Send:
        """While draining, tell clients to come back on a new connection, which goes elsewhere."""
        if not self.draining:
            return send

        async def close(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        return close

    async def _reply(self, send: Send, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await self._closing(send)(start)
        await send({"type": "http.response.body", "body": body})


def _as_json(scope: Scope) -> Scope:
    """V2 over REST is JSON whatever the client calls it; `curl -d` calls it a form."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return 0


def _reason(status: int) -> str:
    return {404: NOT_FOUND, 400: MALFORMED, 422: MALFORMED}.get(status, OTHER)
