"""The administrator of the harness's API server, for the stand-ins: asyncio, dicts in and out."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from faults.mirror import Mirror

Json = dict[str, Any]
# Of the API server's memory: milliseconds old, and far cheaper than asking etcd.
CACHED = "?resourceVersion=0"
# Of many kinds of writes, and of nobody's interest.
UNWATCHED = {"events", "events.events.k8s.io", "leases.coordination.k8s.io"}
MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Kind:
    """A namespaced resource, as discovery names it."""

    api_version: str
    plural: str
    kind: str
    verbs: frozenset[str]
    subresources: frozenset[str]

    def path(self, namespace: str, name: str = "") -> str:
        """Of the collection, or of one object; without a namespace the collection of all."""
        root = "/apis" if "/" in self.api_version else "/api"
        inside = f"/namespaces/{namespace}" if namespace else ""
        found = f"{root}/{self.api_version}{inside}/{self.plural}"
        return f"{found}/{name}" if name else found

    def named(self, items: Iterable[Json]) -> list[Json]:
        """Listed objects with their apiVersion and kind, which lists leave out."""
        same = {"apiVersion": self.api_version, "kind": self.kind}
        return [same | item for item in items]


class Answered(Exception):  # noqa: N818 (what happened)
    """The API server said no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:600]}")
        self.status = status


class Admin:
    """One API server, by an administrator's kubeconfig (JSON, with a token).

    What is read of namespaces that `mirror` follows is read from there.
    """

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server: str = cluster["server"]
        self.authority: str = cluster["certificate-authority"]
        context = ssl.create_default_context(cafile=self.authority)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context),
            headers={"Authorization": f"Bearer {user['token']}"},
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=2**22,  # a line of a watch is a whole object
        )
        self.kinds: dict[str, Kind] = {}  # by plural.group
        self.mirror = Mirror(lambda path: self.session.get(self.server + path))

    async def start(self) -> None:
        """Find out what there is, and follow it."""
        await self._discover()
        await self.mirror.start(
            {
                plural: kind.path("")
                for plural, kind in self.kinds.items()
                if "watch" in kind.verbs and plural not in UNWATCHED
            }
        )

    async def close(self) -> None:
        await self.mirror.stop()
        await self.session.close()

    async def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> Json:
        """One request; raises Answered."""
        data = None if body is None else json.dumps(body)
        async with self.session.request(
            method, self.server + path, data=data, headers={"Content-Type": kind}
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise Answered(answer.status, text)
        found: Json = json.loads(text) if text else {}
        return found

    async def _discover(self) -> None:
        """Every namespaced resource that can be listed."""
        groups = await self.call("GET", "/apis")
        roots = ["/api/v1"] + [
            f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups["groups"]
        ]
        for root in roots:
            found = await self.call("GET", root)
            api_version = found["groupVersion"]
            entries = [item for item in found["resources"] if item["namespaced"]]
            for item in entries:
                if "/" in item["name"] or "list" not in item["verbs"]:
                    continue
                below = {
                    other["name"].partition("/")[2]
                    for other in entries
                    if other["name"].startswith(f"{item['name']}/")
                }
                group = api_version.rpartition("/")[0]
                self.kinds[f"{item['name']}.{group}".rstrip(".")] = Kind(
                    api_version,
                    item["name"],
                    item["kind"],
                    frozenset(item["verbs"]),
                    frozenset(below),
                )

    def kind(self, manifest: Mapping[str, Any]) -> Kind:
        """The resource of a manifest."""
        return next(
            item
            for item in self.kinds.values()
            if (item.api_version, item.kind) == (manifest["apiVersion"], manifest["kind"])
        )

    async def create(self, manifest: Json) -> Json | None:
        """POST; None if the name is taken."""
        namespace = manifest["metadata"]["namespace"]
        try:
            return await self.call("POST", self.kind(manifest).path(namespace), manifest)
        except Answered as answered:
            if answered.status == 409:
                return None
            raise

    async def read(self, plural: str, namespace: str) -> list[Json]:
        """Objects by `plural.group`, with apiVersion and kind, by asking the API server."""
        kind = self.kinds[plural]
        found = await self.call("GET", kind.path(namespace) + CACHED)
        return kind.named(found.get("items") or ())

    def get(self, plural: str, namespace: str, name: str) -> Json | None:
        """One object by `plural.group`, or None; as the mirror has it."""
        return self.mirror.get(plural, namespace, name)

    def list(self, plural: str, namespace: str) -> list[Json]:
        """The same as `read`, as the mirror has them."""
        return self.kinds[plural].named(self.mirror.list(plural, namespace))

    def shows(self, manifest: Mapping[str, Any]) -> bool:
        """Whether the mirror has this object."""
        kind, meta = self.kind(manifest), manifest["metadata"]
        plural = next(plural for plural, item in self.kinds.items() if item is kind)
        return self.mirror.get(plural, meta["namespace"], meta["name"]) is not None

    async def merge(self, live: Mapping[str, Any], patch: Json, subresource: str = "") -> Json:
        """JSON merge patch of an object."""
        meta = live["metadata"]
        path = self.kind(live).path(meta["namespace"], meta["name"])
        return await self.call("PATCH", f"{path}/{subresource}".rstrip("/"), patch, MERGE)

    async def delete(self, live: Mapping[str, Any]) -> None:
        """In the background, as kubectl does; absent is fine."""
        meta = live["metadata"]
        path = self.kind(live).path(meta["namespace"], meta["name"])
        try:
            await self.call("DELETE", path, {"propagationPolicy": "Background"})
        except Answered as answered:
            if answered.status != 404:
                raise
