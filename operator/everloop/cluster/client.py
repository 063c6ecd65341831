"""Raw REST to the API server: JSON dicts in and out, one connection pool, errors translated."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from pydantic_core import from_json

from everloop import contract, errors
from everloop.cluster import credentials, objects
from everloop.cluster.credentials import Configuration
from everloop.cluster.discovery import Discovery

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
# Changes: an apply never takes an unknown field, whatever is asked for here.
WRITER = {"fieldManager": contract.FIELD_MANAGER, "fieldValidation": "Ignore"}
# What users write into a pod reaches Kubernetes in a child: a slip there must not be dropped.
CREATOR = WRITER | {"fieldValidation": "Strict"}
TIMEOUT_SECONDS = 15.0  # of one request; shorter than any backoff is worth
# Long lists would come compressed: inside a cluster that takes longer than to send them.
HEADERS = {"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "identity"}
CONNECTIONS = 24  # at most; Python keeps a quarter of a MiB for each that has TLS
PAGE = 100  # objects in one answer of a list, which are in memory at once as JSON


async def load_configuration() -> Configuration:
    """The service account's in a pod, else the kubeconfig's current context."""
    return credentials.load()


class Client:
    """One API server. Use as an async context manager."""

    def __init__(
        self,
        configuration: Configuration,
        observe: Callable[[str, str, int], None] = lambda _verb, _plural, _status: None,
        may_write: Callable[[], bool] = lambda: True,
        connections: int = CONNECTIONS,
        agent: str = contract.FIELD_MANAGER,
    ) -> None:
        """`observe(verb, plural, status)` is told of every request; status 0 is no answer.

        Without `may_write()` nothing but reads is sent: a process that was frozen past the end of
        its Lease must not go on where it stopped.
        """
        self._configuration = configuration
        self._observe = observe
        self._may_write = may_write
        self._connections = connections
        self._agent = agent
        self._session: aiohttp.ClientSession | None = None
        self.discovery = Discovery(self.request)

    async def __aenter__(self) -> Client:
        context = self._configuration.ssl_context()
        self._session = aiohttp.ClientSession(
            trace_configs=[self._fence()],
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=context),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            headers=HEADERS | {"User-Agent": self._agent},
            trust_env=credentials.behind_proxy(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        verb: str = "",
        plural: str = "",
    ) -> Json:
        """One request. Raises errors.ApiError."""
        assert self._session is not None, "the client is used outside its context"
        self._check(method)
        url = f"{self._configuration.server}{path}"
        if parameters:
            url = f"{url}?{urlencode(parameters)}"
        headers = {}
        token = self._configuration.token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            headers["Content-Type"] = content_type
        status, wait = 0, 0.0
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, trace_request_ctx=method
            ) as response:
                status, wait = response.status, _seconds(response.headers.get("Retry-After"))
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.Transient(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            self._observe(verb or method.lower(), plural, status)
        if status == 401:
            self._configuration.refused()
        if status >= 400:
            raise errors.from_status(status, _status_object(answer), wait)
        found: Json = from_json(answer) if answer else {}  # faster than json
        return found

    def _fence(self) -> aiohttp.TraceConfig:
        """Asks once more when there is a connection and before the body goes out, with which the
        headers wait: until then time may have passed, and aiohttp sends some requests again.
        """

        async def about_to_send(_session: Any, context: Any, _what: Any) -> None:
            self._check(context.trace_request_ctx)

        fence = aiohttp.TraceConfig()
        fence.on_connection_reuseconn.append(about_to_send)
        fence.on_connection_create_end.append(about_to_send)
        fence.on_request_chunk_sent.append(about_to_send)
        return fence

    def _check(self, method: str) -> None:
        if method != "GET" and not self._may_write():
            raise errors.Transient(f"{method}: this process does not hold the Lease")

    # --- reading ----------------------------------------------------------------------------------
    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Json | None:
        """One object, or None."""
        try:
            path, plural = await self.discovery.path(api_version, kind, namespace, name)
            return await self.request("GET", path, verb="get", plural=plural)
        except errors.NotFound:
            return None

    async def pages(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[Json]:
        """All objects of a kind, a list of at most PAGE at a time, of one moment."""
        path, plural = await self.discovery.path(api_version, kind, namespace)
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        parameters = {"limit": str(PAGE)} | {key: text for key, text in selectors.items() if text}
        while True:
            page = await self.request(
                "GET", path, parameters=parameters, verb="list", plural=plural
            )
            yield page
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            parameters["continue"] = token

    # --- writing ----------------------------------------------------------------------------------
    async def create(self, manifest: Mapping[str, Any]) -> Json:
        """POST. Raises errors.AlreadyExists when the name is taken, errors.Invalid also for a field
        that the API server does not know.
        """
        meta = objects.metadata(manifest)
        path, plural = await self.discovery.path(
            manifest["apiVersion"], manifest["kind"], meta.get("namespace")
        )
        return await self.request(
            "POST",
            path,
            parameters=CREATOR,
            body=manifest,
            verb="create",
            plural=plural,
        )

    async def patch(
        self, manifest: Mapping[str, Any], content_type: str, body: Any, subresource: str = ""
    ) -> Json:
        """PATCH the object that `manifest` names; server-side apply is forced."""
        meta = objects.metadata(manifest)
        path, plural = await self.discovery.path(
            manifest["apiVersion"], manifest["kind"], meta.get("namespace"), meta["name"]
        )
        parameters = WRITER | ({"force": "true"} if content_type == APPLY else {})
        return await self.request(
            "PATCH",
            f"{path}/{subresource}" if subresource else path,
            parameters=parameters,
            body=body,
            content_type=content_type,
            verb="apply" if content_type == APPLY else "patch",
            plural=f"{plural}/{subresource}" if subresource else plural,
        )

    async def replace(self, manifest: Mapping[str, Any]) -> Json:
        """PUT. Raises errors.Conflict when the object has changed since it was read."""
        meta = objects.metadata(manifest)
        path, plural = await self.discovery.path(
            manifest["apiVersion"], manifest["kind"], meta["namespace"], meta["name"]
        )
        return await self.request(
            "PUT",
            path,
            parameters=WRITER,
            body=manifest,
            verb="update",
            plural=plural,
        )

    async def delete(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        name: str,
        *,
        uid: str,
        propagation: str = "Background",
    ) -> Json | None:
        """DELETE this very object; that it is gone, or replaced by another, is fine.

        The object as it is left, when something keeps it for a while, or None once it is gone.
        Raises errors.Transient when it is there and its deletion was refused for a conflict.
        """
        path, plural = await self.discovery.path(api_version, kind, namespace, name)
        body = {"preconditions": {"uid": uid}, "propagationPolicy": propagation}
        try:
            left = await self.request("DELETE", path, body=body, verb="delete", plural=plural)
        except errors.NotFound:
            return None
        except errors.Conflict as error:  # by the uid, or by something else: only a look tells
            live = await self.get(api_version, kind, namespace, name)
            if live is not None and objects.uid(live) == uid:
                raise errors.Transient(f"{kind} {namespace}/{name}: {error}") from error
            return None
        # some kinds answer with what they were, others with a Status
        leaving = (left.get("metadata") or {}).get("deletionTimestamp")
        return left if leaving else None


def _seconds(retry_after: str | None) -> float:
    """Of a Retry-After; the API server never says it as a date."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0


def _status_object(answer: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        return {"message": answer[:500].decode(errors="replace")}
    return found if isinstance(found, dict) else {}
