"""The report channel: runners post their report here, and hear back once it is durable.

HTTPS by our own CA, the caller by its pod's token. What is acknowledged is in the ConfigMap
`<run>-report`, so neither side has to remember anything. A standby answers 503, and so does nobody
while the operator is down: the runner retries until its deadline.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from aiohttp import web

from everloop import contract, errors
from everloop.api.report import Report, parse
from everloop.api.trainingrun import TrainingRun
from everloop.cluster import objects
from everloop.cluster.client import MERGE, Client, load_configuration
from everloop.handlers.kind import Conflict, EngineApi, Key, Kube, Object
from everloop.intake import body, report_ca
from everloop.intake.listen import listen
from everloop.intake.report_sender import RefusedError, Sender, Senders
from everloop.intake.report_token import UnauthorizedError, Verifier
from everloop.manifests.meta import meta
from everloop.manifests.trainingrun import build_report, report_name
from everloop.manifests.trainingrun_job import job_name
from everloop.plans.trainingrun_attempt import images
from everloop.settings import Settings

log = logging.getLogger(__name__)

# Reports of one namespace that are kept at once: as with passes (handlers/engine_queue.py), what
# many pods of a team ask of the API server must not stand before what one of another team does.
SHARE = 4
CONNECTIONS = 8  # to the API server, for the pods that reports come from
LARGEST_REPORT = 1_000_000  # bytes; a ConfigMap holds 1 MiB, and the images' digests need some
CA_CHECK_SECONDS = 3600.0
SAMPLE_SECONDS = 1.0  # between two lines about refused reports


class ReportChannel:
    """The CA, the server and the verification; `prepare` before `ca_bundle` and `serve`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._authorities: list[report_ca.Authority] = []
        self._leaf: report_ca.Leaf | None = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    @property
    def tls(self) -> ssl.SSLContext:
        """The server's certificate, renewed in place; the alert webhook listens with it, too."""
        return self._context

    def ca_bundle(self) -> str:
        """What a new run's pods shall trust, PEM."""
        return report_ca.bundle(self._authorities, datetime.now(UTC))

    async def prepare(self, client: Client | None = None) -> None:
        """Read or make the CA, and the server's certificate. Safe to repeat, and for replicas."""
        if client is not None:
            await self._load(client)
            return
        async with Client(await load_configuration()) as own:
            await self._load(own)

    async def serve(self, api: EngineApi) -> None:
        """Serve until cancelled."""
        configuration, observe = await load_configuration(), api.metrics.api_request
        async with Client(configuration, observe, connections=CONNECTIONS) as client:
            await self.prepare(client)
            runner = web.AppRunner(application(api, client), access_log=None)
            await runner.setup()
            try:
                await listen(runner, self._settings.report_port, self._context)
                log.info("reports: listening on port %d", self._settings.report_port)
                while True:
                    await asyncio.sleep(CA_CHECK_SECONDS)
                    await self._renew(client)
            finally:
                await runner.cleanup()

    async def _renew(self, client: Client) -> None:
        try:
            await self._load(client)
        except errors.ApiError as error:
            log.warning("reports: the CA cannot be checked, trying again in an hour: %s", error)

    async def _load(self, client: Client) -> None:
        now = datetime.now(UTC)
        secret = await self._secret(client)
        found = report_ca.read(secret.get("data") or {})
        following = report_ca.successor(found, now)
        if following is not None:
            try:
                await _add(client, secret, following)
            except errors.Conflict:
                log.info("reports: another replica renews the CA")
            secret = await self._secret(client)
            found = report_ca.read(secret.get("data") or {})
        self._authorities = found
        if self._leaf is None or self._leaf.ends - now < report_ca.LEAF_RENEWAL:
            self._leaf = report_ca.make_leaf(report_ca.signer(found, now), self._hosts(), now)
            _install(self._context, self._leaf)

    def _hosts(self) -> list[str]:
        service = f"{self._settings.service_name}.{self._settings.namespace}.svc"
        return [service, f"{service}.cluster.local"]

    async def _secret(self, client: Client) -> Object:
        """The Secret with the CA, made if there is none."""
        name, namespace = f"{self._settings.service_name}-report-ca", self._settings.namespace
        found = await client.get("v1", "Secret", namespace, name)
        if found is not None:
            return found
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": meta(name, namespace, "report-ca"),
            "type": "Opaque",
            "data": report_ca.write(report_ca.make_authority(1, datetime.now(UTC))),
        }
        try:
            return await client.create(manifest)
        except errors.AlreadyExists:
            return await client.get("v1", "Secret", namespace, name) or manifest


async def _add(client: Client, secret: Object, authority: report_ca.Authority) -> None:
    """Put a generation into the Secret, unless somebody else changed it since it was read."""
    version = {"metadata": {"resourceVersion": secret["metadata"]["resourceVersion"]}}
    await client.patch(secret, MERGE, {**version, "data": report_ca.write(authority)})


def _install(context: ssl.SSLContext, leaf: report_ca.Leaf) -> None:
    """Use a certificate from now on; the standard library reads it from files only."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate.write_text(leaf.certificate)
        key.touch(mode=0o600)
        key.write_text(leaf.key)
        context.load_cert_chain(certificate, key)


def application(api: EngineApi, client: Client) -> web.Application:
    """The server, for any port and certificate; `client` is for reading."""

    async def get(path: str) -> dict[str, Any]:
        return await client.request("GET", path, verb="get", plural="openid")

    verifier, senders = Verifier(get), Senders(api, client)
    turns = WeakValueDictionary[str, asyncio.Semaphore]()  # by namespace, while one is used

    async def post(request: web.Request) -> web.Response:
        namespace, run = request.match_info["namespace"], request.match_info["run"]
        if not (objects.is_name(namespace) and objects.is_name(run)):
            return _answer(api, 404, "?", "?", "no run has such a name")
        try:
            _leading(api)
            caller = await verifier.verify(_bearer(request))
            sender = await senders.find(caller, namespace, run)
            text = await _read(request)  # of strangers nothing is read
            report = _parse(text, sender)
            async with turns.setdefault(namespace, asyncio.Semaphore(SHARE)):
                await _keep(api.kube, sender, report, text)
        except UnauthorizedError as error:
            return _answer(api, 401, namespace, run, str(error))
        except RefusedError as error:
            return _answer(api, error.status, namespace, run, str(error))
        except (errors.Invalid, errors.NotFound, errors.Terminating) as error:
            return _answer(api, 422, namespace, run, f"the report cannot be kept: {error}")
        except errors.ApiError as error:  # also a quota on ConfigMaps: somebody may raise it
            return _answer(api, 503, namespace, run, f"the report cannot be kept now: {error}")
        api.wake(Key("TrainingRun", namespace, run))
        api.metrics.increase("reports_accepted")
        log.info("reports: %s/%s: %s", namespace, run, report.outcome)
        return web.json_response({"acknowledged": True})

    server = web.Application(client_max_size=LARGEST_REPORT)
    server.router.add_post(contract.REPORT_PATH, post)
    return server


class Sampled(logging.Filter):
    """At most a line a second, however many reports are refused; the metric counts them all."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -SAMPLE_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 (protocol)
        """Whether this line is written."""
        now = time.monotonic()
        if now - self._last < SAMPLE_SECONDS:
            return False
        self._last = now
        return True


refusals = logging.getLogger(f"{__name__}.refused")
refusals.addFilter(Sampled())


def _answer(api: EngineApi, status: int, namespace: str, run: str, message: str) -> web.Response:
    api.metrics.increase("reports_refused")
    refusals.warning("reports: %s/%s: %d %s", namespace, run, status, message)
    headers = {"Retry-After": "2"} if status == 503 else {}
    return web.json_response({"error": message}, status=status, headers=headers)


def _leading(api: EngineApi) -> None:
    if not api.is_leader():
        raise RefusedError(503, "this replica is on standby; try again")


async def _read(request: web.Request) -> bytes:
    try:
        return await body.read(request)
    except ConnectionError as error:
        raise RefusedError(400, "the sender hung up before the end of its report") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise RefusedError(
            413, f"the report is larger than {LARGEST_REPORT} bytes: write fewer metrics or columns"
        ) from error


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not token:
        raise UnauthorizedError("send the pod's projected token as Authorization: Bearer …")
    return token.strip()


def _parse(text: bytes, sender: Sender) -> Report:
    """The report, which must be about the attempt that sends it. Raises RefusedError."""
    try:
        report = parse(text)
    except ValueError as error:
        raise RefusedError(422, f"the report cannot be read: {error}") from error
    meta_ = objects.metadata(sender.run)
    said = (report.namespace, report.run, report.uid)
    if said != (meta_["namespace"], meta_["name"], objects.uid(sender.run)):
        raise RefusedError(403, f"the report is about another run: {'/'.join(said)}")
    if job_name(report.run, report.attempt) != sender.job["metadata"]["name"]:
        raise RefusedError(422, f"attempt: the pod is not of attempt {report.attempt}")
    return report


async def _keep(kube: Kube, sender: Sender, report: Report, text: bytes) -> None:
    """Make the report durable; the same report again is fine. Raises RefusedError.

    By the engine's own hand: a process that lost its Lease since the report came keeps nothing.
    """
    run = TrainingRun.model_validate(sender.run)
    manifest = build_report(run, text.decode(), images(sender.pod))
    manifest["metadata"]["ownerReferences"] = [objects.owner_reference(sender.run)]
    found = await kube.create(manifest)
    if not isinstance(found, Conflict):
        return
    if (objects.controller(found.live) or {}).get("uid") != objects.uid(sender.run):
        name = report_name(report.run)
        raise RefusedError(
            409, f"the name of ConfigMap {name} is taken by an object that is not of this run"
        )
    if not _same(found.live, text):
        raise RefusedError(409, "the run has ended with a different report")


def _same(live: Mapping[str, Any], text: bytes) -> bool:
    kept = (live.get("data") or {}).get(contract.REPORT_KEY)
    return kept is not None and json.loads(kept) == json.loads(text)
