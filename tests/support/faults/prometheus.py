"""The stand-in for Prometheus: it has the rules of the namespace loaded, and says what it is told.

Whether an alert fires and what the routers answered is the scenario's; every recorded series is 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from everloop.manifests.rules_common import LABEL_SIGNAL, LABEL_VERSION
from faults.admin import Admin, Json

# Answered since a step began: version → (requests that went well, requests that failed).
Answers = Mapping[str, tuple[int, int]]


@dataclass
class Facts:
    """What is the case in a scenario; asked at every request."""

    answers: Answers = field(default_factory=dict)
    firing: Callable[[], frozenset[tuple[str, str]]] | None = None  # (signal, champion)


class FakePrometheus:
    """Use `start`, then `url`."""

    def __init__(self, admin: Admin, namespace: str, facts: Facts) -> None:
        self._admin = admin
        self._namespace = namespace
        self._facts = facts
        self._began = datetime.now(UTC)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/api/v1/rules", self._rules)
        application.router.add_post("/api/v1/query", self._query)
        application.router.add_get("/api/v1/status/runtimeinfo", self._retention)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    # --- inside -----------------------------------------------------------------------------------
    def _groups(self) -> list[Json]:
        found = self._admin.list("prometheusrules.monitoring.coreos.com", self._namespace)
        return [group for item in found for group in item["spec"]["groups"]]

    def _firing(self) -> frozenset[tuple[str, str]]:
        return self._facts.firing() if self._facts.firing else frozenset()

    async def _rules(self, _: web.Request) -> web.Response:
        firing = self._firing()
        groups = [
            {
                "name": group["name"],
                "lastEvaluation": self._began.isoformat(),
                "rules": [self._rule(rule, firing) for rule in group["rules"]],
            }
            for group in self._groups()
        ]
        return _success({"groups": groups})

    def _rule(self, rule: Json, firing: frozenset[tuple[str, str]]) -> Json:
        labels = rule.get("labels") or {}
        alert = {
            "labels": labels,
            "annotations": {},
            "state": "firing",
            "activeAt": self._began.isoformat(),
            "value": "1",
        }
        fires = "alert" in rule and (labels.get(LABEL_SIGNAL), labels.get(LABEL_VERSION)) in firing
        return {
            "name": rule.get("alert") or rule.get("record"),
            "health": "ok",
            "labels": labels,
            "alerts": [alert] if fires else [],
        }

    async def _query(self, request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        if "envoy_cluster_upstream_rq_xx" in query:
            return _vector(
                ({"envoy_cluster_name": version, "envoy_response_code_class": code}, value)
                for version, (good, bad) in self._facts.answers.items()
                for code, value in (("2", good), ("5", bad))
            )
        recorded = [
            ({**rule.get("labels", {}), "__name__": rule["record"]}, 0)
            for group in self._groups()
            for rule in group["rules"]
            if rule.get("record") and rule["record"] in query
        ]
        return _vector(recorded)

    async def _retention(self, _: web.Request) -> web.Response:
        return _success({"storageRetention": "60d"})


def _vector(series: object) -> web.Response:
    now = time.time()
    result = [
        {"metric": labels, "value": [now, str(value)]}
        for labels, value in series  # type: ignore[attr-defined]
    ]
    return _success({"resultType": "vector", "result": result})


def _success(data: Json) -> web.Response:
    return web.json_response({"status": "success", "data": data})
