"""The stand-in for thousands of training runners: when a pod runs, it reports, and then ends.

As the real one does, each report comes over a TLS connection of its own with the pod's token. The
tokens are signed here with the cluster's key, which spares the API server what a kubelet would ask.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from cryptography.hazmat.primitives import serialization
from faults.runner import make_report

from bench.load.cluster import PARALLEL, Admin, Json
from everloop import contract
from everloop.manifests.trainingrun import config_name

RETRY_SECONDS = 1.0
# Only while they run: the stand-in shares the machine with what is measured.
PODS = f"/api/v1/pods?labelSelector={contract.LABEL_RUN}&fieldSelector=status.phase%3DRunning"


def _ended(pod: Json) -> Json:
    """The status that a kubelet writes when the last container has ended."""
    done = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "ready": False}
    ended = [
        {key: value for key, value in one.items() if key != "state"} | done
        for one in pod["status"]["containerStatuses"]
    ]
    return {"status": {"phase": "Succeeded", "containerStatuses": ended}}


class Runners:
    """Serves every namespace. Run `watch` as a task."""

    def __init__(self, admin: Admin, pki: Path, report_port: int, host: str) -> None:
        self._admin = admin
        key = (pki / "sa.key").read_bytes()
        self._key: Any = serialization.load_pem_private_key(key, None)
        self._url = f"https://127.0.0.1:{report_port}"
        self._host = host
        self._kid = ""
        self._tls: ssl.SSLContext | None = None
        self._reports: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(PARALLEL)
        self._seen: set[str] = set()
        self.sent: dict[tuple[str, str], float] = {}  # when first, by the run's namespace and name

    async def watch(self) -> None:
        """Report for every pod of a TrainingRun once it runs, for ever. Raises RuntimeError for an
        answer that no other attempt would change.
        """
        keys = await self._admin.call("GET", "/openid/v1/jwks")
        self._kid = keys["keys"][0]["kid"]
        alone = aiohttp.TCPConnector(force_close=True)  # each report has a connection of its own
        async with (
            aiohttp.ClientSession(connector=alone) as self._reports,
            asyncio.TaskGroup() as reporting,
        ):
            async for event in self._admin.watch(PODS):
                pod = event["object"]
                uid = pod["metadata"]["uid"]
                if event["type"] != "DELETED" and uid not in self._seen:
                    self._seen.add(uid)
                    reporting.create_task(self._finish(pod))

    # --- inside -----------------------------------------------------------------------------------
    async def _finish(self, pod: Json) -> None:
        meta = pod["metadata"]
        namespace, name = meta["namespace"], meta["labels"][contract.LABEL_RUN]
        async with self._slots:
            run = self._admin.made[namespace, name]
            if self._tls is None:
                path = f"/api/v1/namespaces/{namespace}/configmaps/{config_name(name)}"
                config = await self._admin.call("GET", path)
                self._tls = ssl.create_default_context(cadata=config["data"][contract.CA_NAME])
            body = json.dumps(make_report(run, pod)).encode()
            path = contract.REPORT_PATH.format(namespace=namespace, run=name)
            self.sent[namespace, name] = time.monotonic()
            while not await self._send(path, body, self._token(pod)):  # noqa: ASYNC110 (so does the real one)
                await asyncio.sleep(RETRY_SECONDS)
            status = f"/api/v1/namespaces/{namespace}/pods/{meta['name']}/status"
            await self._admin.call("PATCH", status, _ended(pod), "merge-patch+json")

    async def _send(self, path: str, body: bytes, token: str) -> bool:
        assert self._reports is not None
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            async with self._reports.post(
                self._url + path,
                data=body,
                headers=headers,
                ssl=self._tls or True,
                server_hostname=self._host,
            ) as answer:
                if 400 <= answer.status < 500:
                    raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")
                return answer.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    def _token(self, pod: Json) -> str:
        meta, now = pod["metadata"], int(time.time())
        account = pod["spec"].get("serviceAccountName") or "default"
        claims: dict[str, Any] = {
            "iss": "https://kubernetes.default.svc",
            "aud": [contract.REPORT_AUDIENCE],
            "sub": f"system:serviceaccount:{meta['namespace']}:{account}",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "kubernetes.io": {
                "namespace": meta["namespace"],
                "pod": {"name": meta["name"], "uid": meta["uid"]},
                "serviceaccount": {"name": account, "uid": "-"},
            },
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._kid})
