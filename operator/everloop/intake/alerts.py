"""The intake of alerts: a poller that is right alone, and a webhook that only makes it faster."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from everloop.handlers.kind import EngineApi
from everloop.intake import alert_webhook
from everloop.intake.alert_poller import Poller
from everloop.prometheus.client import Prometheus
from everloop.settings import Settings

log = logging.getLogger(__name__)


async def serve(api: EngineApi, settings: Settings, tls: ssl.SSLContext | None) -> None:
    """Poll, and listen where there is a token for callers, until cancelled.

    `tls` is the report channel's, which renews its certificate; None listens without TLS (tests).
    """
    async with asyncio.TaskGroup() as tasks:
        if settings.prometheus_url:
            tasks.create_task(_poll(api, settings))
        else:
            log.warning("alerts: the chart's prometheus.url is empty, nothing is watched")
        if settings.webhook_token_file:
            token = Path(settings.webhook_token_file)
            tasks.create_task(alert_webhook.serve(api, settings.webhook_port, token, tls))


async def _poll(api: EngineApi, settings: Settings) -> None:
    prometheus = Prometheus(settings.prometheus_url)
    poller = Poller(api, prometheus, settings)
    try:
        while True:
            if api.is_leader():
                await poller.poll()
            await asyncio.sleep(poller.pause())
    finally:
        await prometheus.close()
