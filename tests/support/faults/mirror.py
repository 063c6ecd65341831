"""What the API server has, followed by watches: stand-ins and scenarios look many times a second.

Asked each time, the API server and this process would be busier with looking than with the trials.
Only namespaces that somebody follows are kept.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp

Json = dict[str, Any]
Open = Callable[[str], AbstractAsyncContextManager[aiohttp.ClientResponse]]
Place = tuple[str, str]  # plural.group, namespace
AGAIN_SECONDS = 0.2  # between the end of a watch and the list with which the next begins


class Mirror:
    """Objects of the followed namespaces; use `start` and `stop`."""

    def __init__(self, get: Open) -> None:
        """`get` opens a GET of a path and its query."""
        self._get = get
        self._followed: set[str] = set()
        self._objects: dict[Place, dict[str, Json]] = defaultdict(dict)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, paths: Mapping[str, str]) -> None:
        """Watch these collections of all namespaces: the path of each `plural.group`."""
        listed = {plural: asyncio.Event() for plural in paths}
        self._tasks = [
            asyncio.create_task(self._keep(plural, path, listed[plural]))
            for plural, path in paths.items()
        ]
        await asyncio.gather(*(event.wait() for event in listed.values()))

    async def stop(self) -> None:
        """Watch no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def follow(self, namespace: str) -> None:
        """Begin before it exists."""
        self._followed.add(namespace)

    def forget(self, namespace: str) -> None:
        """Nobody looks at it any more."""
        self._followed.discard(namespace)
        for place in [place for place in self._objects if place[1] == namespace]:
            del self._objects[place]

    def list(self, plural: str, namespace: str) -> list[Json]:
        """By name; shared: never change them."""
        found = self._objects.get((plural, namespace), {})
        return [found[name] for name in sorted(found)]

    def get(self, plural: str, namespace: str, name: str) -> Json | None:
        """Shared: never change it."""
        return self._objects.get((plural, namespace), {}).get(name)

    # --- inside -----------------------------------------------------------------------------------
    async def _keep(self, plural: str, path: str, listed: asyncio.Event) -> None:
        """A watch ends now and then, and with "410 Gone" it says that it missed something."""
        while True:
            try:
                async with self._get(path) as answer:
                    answer.raise_for_status()
                    page = json.loads(await answer.text())
                self._replace(plural, page.get("items") or ())
                listed.set()
                await self._watch(plural, f"{path}?watch=true&resourceVersion={_version(page)}")
            except (aiohttp.ClientError, TimeoutError):
                pass  # the API server is away, or has just been told of this kind
            await asyncio.sleep(AGAIN_SECONDS)

    async def _watch(self, plural: str, path: str) -> None:
        async with self._get(path) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                meta = event["object"]["metadata"]
                if meta["namespace"] not in self._followed:
                    continue
                found = self._objects[plural, meta["namespace"]]
                if event["type"] == "DELETED":
                    found.pop(meta["name"], None)
                else:
                    found[meta["name"]] = event["object"]

    def _replace(self, plural: str, items: Any) -> None:
        for place in self._objects:
            if place[0] == plural:
                self._objects[place] = {}
        for item in items:
            meta = item["metadata"]
            if meta["namespace"] in self._followed:
                self._objects[plural, meta["namespace"]][meta["name"]] = item


def _version(page: Json) -> str:
    return str(page["metadata"]["resourceVersion"])
