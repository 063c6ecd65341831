"""A reverse proxy between one operator and the API server: it counts, and lets things go wrong.

It knows requests by what they are (verb, resource, name), not by whose they are, so that what the
operator learns to write tomorrow is counted and disturbed like the rest.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import aiohttp
from aiohttp import web

from faults.admin import Admin

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
LEASES = "leases.coordination.k8s.io"
DROPPED = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


class Cut(Exception):  # noqa: N818 (what happens)
    """The connection ends here, and no answer is sent."""


@dataclass(frozen=True)
class Answer:
    """What the operator gets."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One request of the operator."""

    method: str
    path: str
    parameters: dict[str, str]
    body: bytes
    verb: str
    resource: str  # plural.group, with /subresource; empty for discovery
    name: str
    number: int | None = None  # of a write that is not the Lease's, from 1
    status: int = 0  # of the API server; 0: it never got there, or has not answered
    time: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.name} → {self.status or 'nothing'}"


class Disturbance:
    """What may go wrong; each method may raise Cut. Nothing does in this one."""

    foreseen: frozenset[str] = frozenset()  # in the operator's log, where a request fails
    restarts = 0  # how often the operator had to be started again because of it, so far

    def happened(self) -> bool:
        """Whether it did go wrong, which a trial is asked when it is over."""
        raise NotImplementedError

    async def arrived(self, call: Call) -> Answer | None:
        """A request, before the API server sees it; an answer is sent in its place."""
        return None

    async def answered(self, call: Call) -> None:
        """The API server has answered, the operator does not know."""

    async def delivered(self, call: Call) -> None:
        """The operator has the answer."""

    async def watched(self, call: Call, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The lines of a watch as they reach the operator."""
        async for line in lines:
            yield line


class Proxy:
    """Use `start`, then give an operator its kubeconfig. `disturbances` may change at any time."""

    def __init__(self, admin: Admin, user: str) -> None:
        """The API server is asked as this user, while that is `limited`: no token is needed."""
        self._admin = admin
        self._user = user
        self.limited = True
        self._runner: web.AppRunner | None = None
        self._url = ""
        self.disturbances: Sequence[Disturbance] = ()
        self.calls: list[Call] = []
        self.deletions: Counter[str] = Counter()  # that watches were told of, by resource
        # of each resource, how many writes there had been when its watch told of something
        self.told: dict[str, list[int]] = defaultdict(list)
        self._numbered = 0

    @property
    def writes(self) -> list[Call]:
        """What reached the API server, but for the Lease's."""
        return [call for call in self.calls if call.number is not None and call.status]

    @property
    def forbidden(self) -> list[Call]:
        """What the API server refused for want of rights: no scenario has a quota, or an end of
        its namespace.
        """
        return [call for call in self.calls if call.status == 403]

    async def start(self) -> None:
        """Listen on loopback."""
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._serve)
        # An operator that is killed cancels its watches; what it has written goes on.
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runner = runner
        self._url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def write_kubeconfig(self, file: Path) -> None:
        """Write a kubeconfig that leads here."""
        # Nothing is encrypted; without an authority each start would read all of the system's.
        cluster = {"server": self._url, "certificate-authority": self._admin.authority}
        config = {
            "current-context": "proxy",
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "operator"}}],
            "clusters": [{"name": "proxy", "cluster": cluster}],
            "users": [{"name": "operator", "user": {}}],
        }
        file.write_text(json.dumps(config))

    # --- inside -----------------------------------------------------------------------------------
    async def _serve(self, request: web.Request) -> web.StreamResponse:
        call = classify(request.method, request.path, request.query_string, await request.read())
        if call.verb in VERBS.values() and call.resource != LEASES:
            self._numbered += 1
            call.number = self._numbered
        self.calls.append(call)
        try:
            for disturbance in self.disturbances:
                answer = await disturbance.arrived(call)
                if answer is not None:
                    return await _send(request, answer)
            if call.verb == "watch":
                return await self._watch(request, call)
            # A write that has left the operator happens, whatever becomes of the operator.
            answer = await asyncio.shield(self._forward(request, call))
            for disturbance in self.disturbances:
                await disturbance.answered(call)
            response = await _send(request, answer)
            for disturbance in self.disturbances:
                await disturbance.delivered(call)
            return response
        except (Cut, aiohttp.ClientError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)  # nobody reads it

    async def _forward(self, request: web.Request, call: Call) -> Answer:
        async with self._open(request, call) as answer:
            body = await answer.read()
            call.status = answer.status
            kept = ("Content-Type", "Retry-After")
            headers = {name: answer.headers[name] for name in kept if name in answer.headers}
            return Answer(answer.status, body, headers)

    def _open(self, request: web.Request, call: Call) -> aiohttp.client._RequestContextManager:
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in DROPPED
        } | {"Accept-Encoding": "identity"}
        if self.limited:
            headers["Impersonate-User"] = self._user
        query = f"?{urlencode(call.parameters)}" if call.parameters else ""
        url = f"{self._admin.server}{call.path}{query}"
        return self._admin.session.request(
            call.method, url, data=call.body or None, headers=headers
        )

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        async with self._open(request, call) as answer:
            call.status = answer.status
            response = web.StreamResponse(status=answer.status)
            response.content_type = "application/json"
            await response.prepare(request)
            lines: AsyncIterator[bytes] = aiter(answer.content)
            for disturbance in self.disturbances:
                lines = disturbance.watched(call, lines)
            async for line in lines:
                self.deletions[call.resource] += tells_of_deletion(line)
                self.told[call.resource].append(self._numbered)
                await response.write(line)
            await response.write_eof()
            return response


def tells_of_deletion(line: bytes) -> bool:
    """Of a watch."""
    return b'"type":"DELETED"' in line[:40]


async def _send(request: web.Request, answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
    await response.prepare(request)
    await response.write_eof()
    return response


def classify(method: str, path: str, query: str, body: bytes) -> Call:
    """What a request is.

    >>> call = classify("PATCH", "/apis/apps/v1/namespaces/ml/deployments/a/status", "", b"")
    >>> call.verb, call.resource, call.name
    ('patch', 'deployments.apps/status', 'a')
    >>> classify("GET", "/api/v1/namespaces/ml/pods", "watch=true", b"").verb
    'watch'
    """
    parameters = {name: values[0] for name, values in parse_qs(query, True).items()}
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (".".join(parts[1:2]), parts[3:])
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    plural, name, *below = [*rest, "", ""] if len(rest) < 2 else rest
    resource = f"{plural}.{group}".rstrip(".") if plural else ""
    if below and below[0]:
        resource = f"{resource}/{below[0]}"
    verb = VERBS.get(method, "get" if name else "list")
    if method == "GET" and parameters.get("watch") in ("true", "1"):
        verb = "watch"
    if verb == "create" and not name:
        try:
            name = json.loads(body)["metadata"]["name"]
        except (ValueError, KeyError, TypeError):
            name = ""
    return Call(method, path, parameters, body, verb, resource, name)
