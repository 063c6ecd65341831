"""The cluster as the demo uses it: kubectl to apply and to reach in, one proxy to read.

kubectl is all a user has, and `kubectl port-forward` works the same on kind and on the local
cluster. Reading goes through one `kubectl proxy`: starting a program for every look is slow.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

T = TypeVar("T")
Object = dict[str, Any]
LISTENING = re.compile(r"(?:Starting to serve on|Forwarding from) 127\.0\.0\.1:(\d+)")


class UnexpectedError(Exception):
    """The demo did not go as it must; the message says what was expected and what was seen."""


@dataclass
class Cluster:
    """One cluster, by kubectl and kubeconfig. Use it as an async context."""

    kubectl: Path
    kubeconfig: Path
    session: aiohttp.ClientSession = field(init=False)
    _address: str = ""
    _children: list[asyncio.subprocess.Process] = field(default_factory=list)
    _readers: list[asyncio.Task[bytes]] = field(default_factory=list)

    async def __aenter__(self) -> Cluster:
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        self._address = f"http://127.0.0.1:{await self._listen('proxy', '--port=0')}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        for child in self._children:
            await _end(child)

    async def run(self, *arguments: str, stdin: str | None = None) -> str:
        """kubectl with these arguments: what it printed. Raises UnexpectedError."""
        process = await asyncio.create_subprocess_exec(
            *self._command(*arguments),
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate(stdin.encode() if stdin is not None else None)
        if process.returncode:
            said = (error or out).decode(errors="replace").strip()
            raise UnexpectedError(f"`kubectl {' '.join(arguments)}` failed: {said}")
        return out.decode()

    async def apply(self, manifest: Path | Object) -> None:
        """`kubectl apply` of a file or of an object."""
        if isinstance(manifest, Path):
            await self.run("apply", "-f", str(manifest))
        else:
            await self.run("apply", "-f", "-", stdin=json.dumps(manifest))

    async def get(self, path: str, **query: str) -> Any:
        """JSON at an API path; None if there is nothing. Other answers raise UnexpectedError."""
        async with self.session.get(f"{self._address}{path}", params=query) as response:
            if response.status == 404:
                return None
            if response.status != 200:
                text = (await response.text())[:300]
                raise UnexpectedError(
                    f"the API server answered {response.status} to {path}: {text}"
                )
            return await response.json(content_type=None)

    async def items(self, path: str, **query: str) -> list[Object]:
        """The items of a list; none if the cluster does not know the kind."""
        found = await self.get(path, **query)
        items: list[Object] = found["items"] if found else []
        return items

    @asynccontextmanager
    async def forward(self, namespace: str, target: str, port: int) -> AsyncIterator[str]:
        """host:port on this machine that leads to a port of e.g. `svc/flights` while in here."""
        local = await self._listen("port-forward", "-n", namespace, target, f":{port}")
        child = self._children[-1]
        try:
            yield f"127.0.0.1:{local}"
        finally:
            self._children.remove(child)
            await _end(child)

    async def _listen(self, *arguments: str) -> int:
        """Start a kubectl that listens on this machine; its port."""
        child = await asyncio.create_subprocess_exec(
            *self._command(*arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._children.append(child)
        assert child.stdout is not None
        said = ""
        while line := (await asyncio.wait_for(child.stdout.readline(), 20)).decode():
            said += line
            if found := LISTENING.search(line):
                # it goes on telling of each connection, and would stop if nobody read
                self._readers.append(asyncio.create_task(child.stdout.read()))
                return int(found[1])
        raise UnexpectedError(f"`kubectl {' '.join(arguments)}` ended: {said.strip()}")

    def _command(self, *arguments: str) -> list[str]:
        return [str(self.kubectl), "--kubeconfig", str(self.kubeconfig), *arguments]


async def wait_for(
    what: str, check: Callable[[], Awaitable[T | None]], seconds: float, every: float = 0.5
) -> T:
    """The first true answer of `check`. Raises UnexpectedError when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise UnexpectedError(f"{what}: not after {seconds:.0f} s")
        await asyncio.sleep(every)


async def _end(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.terminate()
    await child.wait()
