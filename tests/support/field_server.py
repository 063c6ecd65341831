"""Asks an API server what it would take: dry runs, of which nothing is stored."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlencode

from field_objects import make
from field_schema import Json
from kube import Kube, collection

from everloop import errors
from everloop.cluster.client import CREATOR


class DryRun:
    """Creations and replacements that change nothing, on one connection."""

    def __init__(self, kube: Kube, kind: str, namespace: str) -> None:
        self._connection: http.client.HTTPSConnection = kube.connect()
        self._kind, self._namespace = kind, namespace

    def create(self, spec: Json) -> tuple[Json | None, str]:
        """The spec as it would be stored, or None and why not."""
        return self._send("POST", spec, {})

    def replace(self, spec: Json, live: Json) -> tuple[Json | None, str]:
        """The same for a change of a live object."""
        return self._send("PUT", spec, live["metadata"])

    def child(self, manifest: Json) -> str:
        """Why the operator cannot make this child; empty if it can."""
        here = {**manifest["metadata"], "namespace": self._namespace}
        parameters = urlencode(CREATOR | {"dryRun": "All"})
        return self._answer("POST", {**manifest, "metadata": here}, parameters)[1]

    def _send(self, method: str, spec: Json, metadata: Json) -> tuple[Json | None, str]:
        manifest = make(self._kind, spec, self._namespace)
        manifest["metadata"] |= metadata
        parameters = "dryRun=All&fieldValidation=Strict"
        stored, refusal = self._answer(method, manifest, parameters, metadata.get("name", ""))
        return (None if stored is None else dict(stored["spec"])), refusal

    def _answer(
        self, method: str, manifest: Json, parameters: str, name: str = ""
    ) -> tuple[Json | None, str]:
        path = collection(manifest) + (f"/{name}" if name else "")
        self._connection.request(
            method,
            f"{path}?{parameters}",
            json.dumps(manifest),
            {"Content-Type": "application/json"},
        )
        answer = self._connection.getresponse()
        body = json.loads(answer.read())
        if answer.status < 300:
            return body, ""
        error = errors.from_status(answer.status, body)
        assert isinstance(error, errors.Invalid), f"{answer.status}: {body}"
        return None, str(error)
