"""The stand-in for the training runner: what a pod of a TrainingRun would report, it reports.

As the real one it sends the report until it is acknowledged, with the pod's own token, and the pod
ends only then. What it says follows from the run alone, so that a second attempt says the same.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp

from everloop import contract
from everloop.manifests.trainingrun import config_name
from faults.admin import Admin, Answered, Json

ENDED = "faults.test/ended"  # on a pod: see stages/pod-complete.yaml
FAILED = "faults.test/failed"  # on a pod: see stages/pod-failed.yaml
ACCOUNT = "serviceaccounts"
TIMEOUT_SECONDS = 30.0  # an operator that was stopped meanwhile still has to answer
RETRY_SECONDS = 1.0  # at least, between two attempts to report, as of the real one


class Runner:
    """The runners of one namespace; `step` does what is to be done now."""

    def __init__(
        self,
        admin: Admin,
        namespace: str,
        port: Callable[[], int],
        works: Callable[[Json], bool],
    ) -> None:
        """`port` is where the operator takes reports; `works(run)` is whether it may finish."""
        self._admin = admin
        self._namespace = namespace
        self._port = port
        self._works = works
        self.fails: Callable[[Json, int], bool] = lambda *_: False  # whether a run's attempt does
        self._reports: dict[str, bytes] = {}  # by uid of the pod: a repeat is the same report
        self._tried: dict[str, float] = {}  # when a report was last sent, by uid of the pod
        self._ended: set[str] = set()  # uids of pods; a look at them may be older than their mark
        self.acknowledged: list[str] = []  # names of runs
        self.refused: list[str] = []

    async def step(self, pods: list[Json]) -> None:
        """Look at the pods once."""
        for pod in pods:
            meta = pod["metadata"]
            name = (meta.get("labels") or {}).get(contract.LABEL_RUN)
            marks = (meta.get("annotations") or {}).keys() & {ENDED, FAILED}
            ended = marks or meta["uid"] in self._ended or meta.get("deletionTimestamp")
            if name is None or ended or (pod.get("status") or {}).get("phase") != "Running":
                continue
            run = self._admin.get(f"trainingruns.{contract.GROUP}", self._namespace, name)
            if run is None or not self._works(run):
                continue
            if self.fails(run, attempt_of(pod)):
                await self._mark(pod, FAILED, "1")
            else:
                await self._report(run, pod)

    async def _report(self, run: Json, pod: Json) -> None:
        name, meta = run["metadata"]["name"], pod["metadata"]
        config = self._admin.get("configmaps", self._namespace, config_name(name))
        early = time.monotonic() < self._tried.get(meta["uid"], -RETRY_SECONDS) + RETRY_SECONDS
        if config is None or early:
            return
        self._tried[meta["uid"]] = time.monotonic()
        body = self._reports.setdefault(meta["uid"], json.dumps(make_report(run, pod)).encode())
        status = await self._send(name, config, body, await self._token(pod))
        if status in (401, 408, 429) or status >= 500 or status == 0:
            return  # the next step tries again
        (self.acknowledged if status == 200 else self.refused).append(name)
        await self._mark(pod, ENDED, str(status))

    async def _mark(self, pod: Json, annotation: str, value: str) -> None:
        """The pod ends by it."""
        try:
            await self._admin.merge(pod, {"metadata": {"annotations": {annotation: value}}})
        except Answered as answered:
            if answered.status != 404:
                raise
        self._ended.add(pod["metadata"]["uid"])

    async def _token(self, pod: Json) -> str:
        meta = pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec = {"audiences": [contract.REPORT_AUDIENCE], "boundObjectRef": bound}
        account = pod["spec"].get("serviceAccountName") or "default"
        path = f"/api/v1/namespaces/{self._namespace}/{ACCOUNT}/{account}/token"
        try:
            found = await self._admin.call("POST", path, {"spec": spec})
        except Answered as answered:
            if answered.status in (404, 409):  # the pod has just gone
                return ""
            raise
        return str(found["status"]["token"])

    async def _send(self, run: str, config: Json, body: bytes, token: str) -> int:
        """The status; 0 if nobody answers."""
        if not token:
            return 0
        path = contract.REPORT_PATH.format(namespace=self._namespace, run=run)
        context = ssl.create_default_context(cadata=config["data"][contract.CA_NAME])
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    f"https://127.0.0.1:{self._port()}{path}",
                    data=body,
                    headers=headers,
                    ssl=context,
                    server_hostname=f"everloop.{self._namespace}.svc",
                ) as answer,
            ):
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0


def attempt_of(pod: Mapping[str, Any]) -> int:
    """Which of its run's, from 1."""
    return int(pod["metadata"]["labels"][contract.LABEL_ATTEMPT])


def make_report(run: Mapping[str, Any], pod: Mapping[str, Any]) -> Json:
    """The report of a run that went well: its metric `auc` grows with the parameter `k`."""
    meta, spec = run["metadata"], run["spec"]
    parameters = spec.get("parameters") or {}
    digest = "sha256:" + hashlib.sha256(meta["name"].encode()).hexdigest()
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    artifact = {
        "uri": f"{spec['output']['uri']}/{digest[7:19]}",
        "digest": digest,
        "format": "sklearn",
        "sizeBytes": 1000,
    }
    return {
        "schema": contract.REPORT_SCHEMA,
        "namespace": meta["namespace"],
        "run": meta["name"],
        "uid": meta["uid"],
        "attempt": attempt_of(pod),
        "outcome": "Succeeded",
        "startedAt": now,
        "finishedAt": now,
        "resolved": {"parameters": parameters, "seed": spec.get("seed") or 0, "runner": "test"},
        "artifact": artifact,
        "metrics": {"auc": f"{0.6 + 0.2 * float(parameters.get('k', 0.5)):.4f}"},
    }
