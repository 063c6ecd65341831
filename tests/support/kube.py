"""A small synchronous client for tests: dicts in and out, the administrator's certificate."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from everloop.contract import child_name

Json = dict[str, Any]
PLURALS = {"Endpoints": "endpoints", "NetworkPolicy": "networkpolicies",
           "PriorityClass": "priorityclasses",
           "ValidatingAdmissionPolicy": "validatingadmissionpolicies"}  # fmt: skip


class Answered(Exception):  # noqa: N818 (what happened)
    """The API server said no."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:600]}")
        self.status = status


class Kube:
    """One API server, by an administrator's kubeconfig (JSON, with paths)."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = cluster["server"]
        self.authority = Path(cluster["certificate-authority"])
        self._context = ssl.create_default_context(cafile=self.authority)
        self._context.load_cert_chain(user["client-certificate"], user["client-key"])

    def call(self, method: str, path: str, body: Any = None, kind: str = "json") -> Json:
        """One request; raises Answered."""
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Content-Type": f"application/{kind}", "User-Agent": "everloop-tests"}
        request = urllib.request.Request(
            self.server + path, data=data, method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise Answered(error.code, error.read().decode()) from error
        found: Json = json.loads(text) if text else {}
        return found

    def connect(self) -> http.client.HTTPSConnection:
        """A connection that stays open, for many requests one after the other."""
        host = self.server.removeprefix("https://")
        return http.client.HTTPSConnection(host, context=self._context, timeout=30)

    def create(self, manifest: Json) -> Json:
        return self.call("POST", collection(manifest), manifest)

    def get(self, like: Json) -> Json | None:
        """The live object that a manifest names, or None."""
        try:
            return self.call("GET", _path(like))
        except Answered as answered:
            if answered.status == 404:
                return None
            raise

    def merge(self, like: Json, patch: Json, subresource: str = "") -> Json:
        path = _path(like) + (f"/{subresource}" if subresource else "")
        return self.call("PATCH", path, patch, "merge-patch+json")

    def apply(self, manifest: Json, manager: str) -> Json:
        """Server-side apply, as a user's tool does it."""
        path = f"{_path(manifest)}?fieldManager={manager}&force=true"
        return self.call("PATCH", path, manifest, "apply-patch+yaml")

    def replace(self, manifest: Json) -> Json:
        """PUT a whole object, as `kubectl replace` does."""
        return self.call("PUT", _path(manifest), manifest)

    def delete(self, like: Json, propagation: str = "Background") -> None:
        try:
            self.call("DELETE", _path(like), {"propagationPolicy": propagation})
        except Answered as answered:
            if answered.status != 404:
                raise

    def list(self, api_version: str, plural: str, namespace: str) -> list[Json]:
        path = f"{_root(api_version)}/namespaces/{namespace}/{plural}"
        items: list[Json] = self.call("GET", path).get("items") or []
        return items

    def install(self, crds: list[Json]) -> None:
        """Apply CustomResourceDefinitions and wait until they are served."""
        for crd in crds:
            self.apply(crd, "tests")
        deadline = time.monotonic() + 30
        waiting = list(crds)
        while waiting:
            waiting = [crd for crd in waiting if not _established(self.get(crd))]
            if waiting and time.monotonic() > deadline:
                names = ", ".join(crd["metadata"]["name"] for crd in waiting)
                raise AssertionError(f"not established after 30 s: {names}")
            time.sleep(0.05)

    def namespace(self, name: str) -> str:
        """Create a namespace; the name."""
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name


def dns_label(test: str) -> str:
    """A test's name, with its parameters, as the name of an object or a namespace."""
    words = re.sub("[^a-z0-9]+", "-", test.removeprefix("test_").lower()).strip("-")
    return child_name(words, limit=40)


def ref(api_version: str, kind: str, namespace: str, name: str) -> Json:
    """What `get` and `delete` need of a manifest."""
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta}


def _established(crd: Json | None) -> bool:
    found = ((crd or {}).get("status") or {}).get("conditions") or []
    return any(item["type"] == "Established" and item["status"] == "True" for item in found)


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def collection(manifest: Json) -> str:
    kind = manifest["kind"]
    plural = PLURALS.get(kind, f"{kind.lower()}s")
    namespace = manifest["metadata"].get("namespace")
    root = _root(manifest["apiVersion"])
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def _path(manifest: Json) -> str:
    return f"{collection(manifest)}/{manifest['metadata']['name']}"
