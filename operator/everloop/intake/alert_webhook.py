"""Alertmanager's webhook. Its payload is never believed: Monitors it names look for themselves.

So the worst that a caller with the token can do is to have Prometheus asked once more. Without the
token nothing is read, not even the body.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import ssl
from pathlib import Path
from typing import Any

from aiohttp import web

from everloop.handlers.kind import EngineApi, Key
from everloop.intake import body
from everloop.intake.listen import listen
from everloop.manifests.rules_common import LABEL_MONITOR, LABEL_NAMESPACE

log = logging.getLogger(__name__)

PATH = "/v1/alerts"
LARGEST_BODY = 1_000_000  # bytes; Alertmanager groups alerts, ours are a kilobyte each


async def serve(api: EngineApi, port: int, token: Path, tls: ssl.SSLContext | None) -> None:
    """Listen until cancelled."""
    runner = web.AppRunner(application(api, token), access_log=None)
    await runner.setup()
    try:
        await listen(runner, port, tls)
        log.info("alerts: webhook listens on port %d", port)
        await asyncio.Event().wait()  # until cancelled
    finally:
        await runner.cleanup()


def application(api: EngineApi, token: Path) -> web.Application:
    """The server, for any port and certificate. `token` is read anew each time: it may rotate."""

    async def post(request: web.Request) -> web.Response:
        if not _authorized(request, token):
            api.metrics.increase("webhook_refused")
            return _refuse(
                401, "the bearer token is missing or not the one of the webhook's Secret"
            )
        if not api.is_leader():
            return _refuse(503, "this replica is on standby; try again")
        try:
            keys = _monitors(json.loads(await body.read(request)))
        except web.HTTPRequestEntityTooLarge:
            return _refuse(413, f"more than {LARGEST_BODY} bytes: set max_alerts in Alertmanager")
        except ConnectionError:
            return _refuse(400, "the sender hung up before the end of its notification")
        except (ValueError, RecursionError):
            return _refuse(422, "not the JSON that Alertmanager sends (version 4)")
        known = {key for key in keys if api.view.get(key.kind, key.namespace, key.name) is not None}
        for key in known:
            api.wake(key)
        api.metrics.increase("webhook_accepted")
        return web.json_response({"woken": len(known)})

    server = web.Application(client_max_size=LARGEST_BODY)
    server.router.add_post(PATH, post)
    return server


def _authorized(request: web.Request, token: Path) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    try:
        wanted = token.read_text().strip()
    except OSError as error:
        log.warning("alerts: the webhook's token cannot be read, refusing all callers: %s", error)
        return False
    # A header's odd bytes come as surrogates, which plain UTF-8 refuses.
    same = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), wanted.encode())
    return scheme.lower() == "bearer" and bool(wanted) and same


def _monitors(payload: Any) -> set[Key]:
    """The Monitors named in the labels of a notification, firing or resolved.

    Raises ValueError for anything but a notification.
    """
    alerts = payload.get("alerts") if isinstance(payload, dict) else None
    if not isinstance(alerts, list):
        raise ValueError("no list of alerts")
    keys = set()
    for alert in alerts:
        labels = alert.get("labels") if isinstance(alert, dict) else None
        if not isinstance(labels, dict):
            raise ValueError("an alert has no labels")
        namespace, name = labels.get(LABEL_NAMESPACE), labels.get(LABEL_MONITOR)
        if isinstance(namespace, str) and isinstance(name, str):
            keys.add(Key("Monitor", namespace, name))
    return keys


def _refuse(status: int, message: str) -> web.Response:
    headers = {"Retry-After": "2"} if status == 503 else {}
    return web.json_response({"error": message}, status=status, headers=headers)
