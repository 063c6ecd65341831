"""`/metrics`, `/healthz` and `/readyz` of the operator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def serve(
    port: int,
    registry: CollectorRegistry,
    unhealthy: Callable[[], Sequence[str]],
    unready: Callable[[], Sequence[str]],
) -> web.AppRunner:
    """Start the server. `unhealthy` and `unready` say what is wrong; nothing is well."""
    application = web.Application()
    application.router.add_get("/metrics", _metrics(registry))
    application.router.add_get("/healthz", _check(unhealthy))
    application.router.add_get("/readyz", _check(unready))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner


def _metrics(registry: CollectorRegistry) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        text = generate_latest(registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer


def _check(problems: Callable[[], Sequence[str]]) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        found = problems()
        return web.Response(text="\n".join(found) or "ok", status=503 if found else 200)

    return answer
