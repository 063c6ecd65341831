"""Which path a kind has, asked of the API server once per group and version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from everloop import errors
from everloop.cluster import objects

FORGET_SECONDS = 20.0  # how long "there is no such kind" is believed: CRDs may come later

Request = Callable[..., Awaitable[dict[str, Any]]]


class Discovery:
    """Kinds to plurals. Only what is looked for is asked for."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._plurals: dict[str, dict[str, str]] = {}  # api version → kind → plural
        self._asked: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def path(
        self, api_version: str, kind: str, namespace: str | None, name: str = ""
    ) -> tuple[str, str]:
        """The URL path of a collection (or of an object, with `name`), and the plural.

        Raises errors.NotServed when the cluster has no such kind, errors.NotFound for what cannot
        be a name: some come from strangers, and as part of a path could lead anywhere.
        """
        for given in (namespace, name):
            if given and not objects.is_name(given):
                raise errors.NotFound(f"no object can be named {given!r}")
        plural = await self._plural(api_version, kind)
        path = f"{_root(api_version)}/namespaces/{namespace}" if namespace else _root(api_version)
        return f"{path}/{plural}" + (f"/{name}" if name else ""), plural

    async def served(self, api_version: str, kind: str) -> bool:
        """Whether the cluster has this kind now."""
        try:
            await self._plural(api_version, kind)
        except errors.NotServed:
            return False
        return True

    async def _plural(self, api_version: str, kind: str) -> str:
        plural = self._plurals.get(api_version, {}).get(kind)
        if plural is None:
            async with self._lock:
                await self._ask(api_version)
            plural = self._plurals[api_version].get(kind)
        if plural is None:
            raise errors.NotServed(
                f"this cluster has no {kind} of {api_version}: install its CustomResourceDefinition"
            )
        return plural

    async def _ask(self, api_version: str) -> None:
        now = time.monotonic()
        if now - self._asked.get(api_version, -FORGET_SECONDS) < FORGET_SECONDS:
            return
        try:
            answer = await self._request("GET", _root(api_version), verb="discover")
        except errors.NotFound:
            answer = {}
        self._asked[api_version] = now
        self._plurals[api_version] = {
            resource["kind"]: resource["name"]
            for resource in answer.get("resources", ())
            if "/" not in resource["name"]
        }


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
