"""The stand-in for a Deployment's routers: each answers at its pod's address what it would do.

It takes over the weights of its ConfigMap at once, and reaches every server whose pod is ready.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from everloop import contract
from everloop.manifests.router import router_name
from everloop.manifests.router_config import HEALTH_SERIES, WEIGHTS
from everloop.manifests.router_routes import STATS_PATH, WEIGHTS_PATH
from faults.admin import Admin, Json

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Routers:
    """The routers of one namespace; `step` begins to listen for the new ones."""

    def __init__(self, admin: Admin, namespace: str) -> None:
        self._admin = admin
        self._namespace = namespace
        self._pods: list[Json] = []
        self._listening: dict[str, web.AppRunner] = {}  # by uid of the pod

    async def step(self, pods: list[Json]) -> None:
        """Look at the pods once."""
        self._pods = pods
        running = {pod["metadata"]["uid"]: pod for pod in pods if _is_router(pod)}
        for uid, pod in running.items():
            if uid not in self._listening:
                self._listening[uid] = await self._listen(pod)
        for uid in self._listening.keys() - running.keys():
            await self._listening.pop(uid).cleanup()

    async def stop(self) -> None:
        for runner in self._listening.values():
            await runner.cleanup()
        self._listening.clear()

    async def _listen(self, pod: Json) -> web.AppRunner:
        deployment = pod["metadata"]["labels"][contract.LABEL_DEPLOYMENT]
        application = web.Application()
        application.router.add_get(WEIGHTS_PATH, self._weights(deployment))
        application.router.add_get(STATS_PATH, self._health(deployment))
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        address = pod["status"]["podIP"]
        await web.TCPSite(runner, address, contract.ROUTER_STATUS_PORT, reuse_address=True).start()
        return runner

    def _weights(self, deployment: str) -> Handler:
        async def answer(_: web.Request) -> web.Response:
            name = router_name(deployment)
            config = self._admin.get("configmaps", self._namespace, name)
            text = ((config or {}).get("data") or {}).get(WEIGHTS) or json.dumps({"weights": {}})
            return web.Response(text=text)

        return answer

    def _health(self, deployment: str) -> Handler:
        async def answer(_: web.Request) -> web.Response:
            ready: dict[str, int] = {}
            for pod in self._pods:
                labels = pod["metadata"].get("labels") or {}
                version = labels.get(contract.LABEL_MODEL_VERSION)
                if version and labels.get(contract.LABEL_DEPLOYMENT) == deployment:
                    ready[version] = ready.get(version, 0) + _is_ready(pod)
            lines = [
                f'{HEALTH_SERIES}{{envoy_cluster_name="{version}"}} {count}'
                for version, count in sorted(ready.items())
            ]
            return web.Response(text="\n".join(lines))

        return answer


def _is_router(pod: Json) -> bool:
    meta, status = pod["metadata"], pod.get("status") or {}
    component = (meta.get("labels") or {}).get(contract.LABEL_COMPONENT)
    return (
        component == contract.COMPONENT_ROUTER
        and not meta.get("deletionTimestamp")
        and bool(status.get("podIP"))
    )


def _is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    up = any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
    return up and not pod["metadata"].get("deletionTimestamp")
