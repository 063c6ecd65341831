"""A cluster without kubelets in which Jobs come alive, and a client for thousands of requests."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from pydantic_core import from_json

from everloop import contract

T = TypeVar("T")
Json = dict[str, Any]
PARALLEL = 32  # requests of the bench under way at once


class Admin:
    """The administrator: raw requests, many at once."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = str(cluster["server"])
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._tls.load_cert_chain(user["client-certificate"], user["client-key"])
        self._session: aiohttp.ClientSession | None = None
        self.made: dict[tuple[str, str], Json] = {}  # runs, by namespace and name

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Admin]:
        """Use inside `async with`."""
        connector = aiohttp.TCPConnector(limit=PARALLEL + 8, ssl=self._tls)
        headers = {"User-Agent": "everloop-bench"}
        timeout = aiohttp.ClientTimeout(total=None, connect=30)
        async with aiohttp.ClientSession(
            connector=connector, headers=headers, timeout=timeout
        ) as self._session:
            yield self

    async def call(self, method: str, path: str, body: Any = None, kind: str = "json") -> Json:
        """One request. Raises RuntimeError for an answer that is no success."""
        assert self._session is not None
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": f"application/{kind}"}
        url = f"{self.server}{path}"
        async with self._session.request(method, url, data=data, headers=headers) as answer:
            text = await answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:300].decode()}")
            found: Json = from_json(text)
            return found

    async def exists(self, path: str) -> bool:
        """Whether there is an object."""
        assert self._session is not None
        async with self._session.get(f"{self.server}{path}") as answer:
            await answer.read()
            if answer.status not in (200, 404):
                raise RuntimeError(f"GET {path}: {answer.status}")
            return answer.status == 200

    async def make_run(self, namespace: str, run: Json) -> None:
        """Create a TrainingRun, and remember it for the stand-in that reports for it."""
        path = f"/apis/{contract.API_VERSION}/namespaces/{namespace}/trainingruns"
        made = await self.call("POST", path, run)
        self.made[namespace, made["metadata"]["name"]] = made

    async def watch(self, path: str, since: str = "0") -> AsyncIterator[Json]:
        """Events of a collection, for ever; `path` may have a query."""
        assert self._session is not None
        joint = "&" if "?" in path else "?"
        while True:
            url = f"{self.server}{path}{joint}watch=1&resourceVersion={since}"
            async with self._session.get(url) as answer:
                buffer = b""
                async for chunk in answer.content.iter_any():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        event = from_json(line)  # pods are large, and the machine is shared
                        if event["type"] != "ERROR":
                            since = event["object"]["metadata"]["resourceVersion"]
                            yield event
                        elif event["object"].get("code") == 410:
                            since = "0"  # the server forgot what went between: all there is, anew
                        else:
                            raise RuntimeError(f"watch of {path}: {event['object']}")


async def each(
    items: Iterable[T], do: Callable[[T], Awaitable[Any]], parallel: int = PARALLEL
) -> None:
    """`do` for every item, so many at a time."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    await asyncio.gather(*(work() for _ in range(parallel)))
