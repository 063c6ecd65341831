"""The operator process: `python -m everloop`, configured by EVERLOOP_* (see settings.py)."""

from __future__ import annotations

import gc
import logging
import sys

import uvloop

from everloop.cluster.client import Client
from everloop.handlers.engine import Engine
from everloop.handlers.engine_run import Operator
from everloop.handlers.kind import EngineApi
from everloop.handlers.outside import Http, Outside
from everloop.handlers.registry import KINDS
from everloop.intake import alerts
from everloop.intake.reports import ReportChannel
from everloop.prometheus.client import Prometheus
from everloop.settings import Settings


async def run(settings: Settings) -> int:
    """Everything, until it ends; the exit code."""
    http = Http()
    prometheus = Prometheus(settings.prometheus_url) if settings.prometheus_url else None
    reports = ReportChannel(settings)

    def outside(engine: Engine) -> Outside:
        return Outside(
            settings=settings,
            kube=engine.kube,
            prometheus=prometheus,
            http=http,
            report_ca=reports.ca_bundle,
            wake=engine.wake,
        )

    async def prepare(client: Client) -> None:
        await reports.prepare(client)

    async def serve_reports(api: EngineApi, _: Settings) -> None:
        await reports.serve(api)

    async def serve_alerts(api: EngineApi, settings: Settings) -> None:
        await alerts.serve(api, settings, reports.tls)

    try:
        return await Operator(
            KINDS,
            settings,
            outside=outside,
            intakes=(serve_reports, serve_alerts),
            before_leading=prepare,
        ).run()
    finally:
        await http.close()
        if prometheus is not None:
            await prometheus.close()


def main() -> None:
    """Entry point."""
    try:
        settings = Settings.from_environment()
    except ValueError as error:
        sys.exit(f"everloop: {error}")
    configure_logging(settings.log_level)
    # Parsed events would set off many collections, each of which walks modules in vain
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    sys.exit(uvloop.run(run(settings)))


def configure_logging(level: str) -> None:
    """One line a message, to standard error; kopf speaks only when something is wrong."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    if level.lower() != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
