"""A real operator's report channel and webhook, and tokens of the pods that may report."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from devcluster.control_plane_only import ControlPlane
from flood import Door
from kube import Json, Kube, ref
from operator_process import EVERLOOP, OperatorProcess, eventually
from rights import ACCOUNT, account
from samples import make_training_run

from everloop import contract
from everloop.intake.alert_webhook import PATH as WEBHOOK

SECRET = "a-token-that-alertmanager-knows"
NO_ALERTS = {"version": "4", "alerts": []}


@dataclass(frozen=True)
class Doors:
    """A running operator's report channel and webhook."""

    operator: OperatorProcess
    kube: Kube
    plane: ControlPlane
    ca: str
    namespace: str

    def report_path(self, run: str) -> str:
        return contract.REPORT_PATH.format(namespace=self.namespace, run=run)

    def report_url(self, run: str) -> str:
        return f"https://127.0.0.1:{self.operator.report_port}{self.report_path(run)}"

    @property
    def webhook_url(self) -> str:
        return f"https://127.0.0.1:{self.operator.webhook_port}{WEBHOOK}"

    @property
    def reports(self) -> Door:
        return Door(self.operator.report_port, self.trust())

    @property
    def webhook(self) -> Door:
        return Door(self.operator.webhook_port, self.trust())

    @property
    def health(self) -> Door:
        return Door(self.operator.metrics_port)

    def trust(self) -> ssl.SSLContext:
        trust = ssl.create_default_context(cadata=self.ca)
        trust.check_hostname = False  # the certificate is of the Service
        return trust

    async def post(
        self, url: str, token: str, body: bytes | AsyncIterator[bytes] | Json
    ) -> tuple[int, str]:
        """Status and answer; 0 where the connection was closed on a body that nobody wants."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(ssl=self.trust())
        async with aiohttp.ClientSession(connector=connector) as session:
            try:
                async with session.post(url, data=data, headers=headers) as response:
                    return response.status, await response.text()
            except aiohttp.ClientError as error:
                return 0, str(error)

    def reads(self) -> int:
        """How often the operator has read something but its Lease, by the audit log."""
        audit_log = self.plane.audit_log
        assert audit_log is not None
        who = f'"system:serviceaccount:{self.namespace}:{ACCOUNT}"'.encode()
        with Path(audit_log).open("rb") as log:
            return sum(
                b'"verb":"get"' in line and who in line and b'"resource":"leases"' not in line
                for line in log
            )


@contextmanager
def open_doors(kube: Kube, plane: ControlPlane, folder: Path, namespace: str) -> Iterator[Doors]:
    """Of an operator that acts in a namespace of its own."""
    (folder / "token").write_text(SECRET)
    kube.namespace(namespace)
    settings: dict[str, Any] = {"namespace": namespace, "watch_namespaces": namespace}
    with OperatorProcess(
        account(kube, folder, namespace),
        folder / "operator.log",
        command=EVERLOOP,
        webhook_token_file=folder / "token",
        **settings,
    ) as operator:
        operator.wait_leading()
        secret = eventually(
            lambda: kube.get(ref("v1", "Secret", namespace, "everloop-report-ca")), 20, "no CA"
        )
        ca = base64.b64decode(secret["data"]["ca-1.crt"]).decode()
        yield Doors(operator, kube, plane, ca, namespace)


def make_pod_of(doors: Doors, name: str) -> tuple[Json, Json]:
    """A run, and a pod of its first Job as the Job controller makes it; no node runs it."""
    kube, namespace = doors.kube, doors.namespace
    run = kube.create(make_training_run(name, namespace))
    job = eventually(lambda: kube.get(ref("batch/v1", "Job", namespace, f"{name}-1")), 20, "no Job")

    def pods() -> list[Json]:
        return [
            pod
            for pod in kube.list("v1", "pods", namespace)
            if pod["metadata"].get("labels", {}).get("job-name") == job["metadata"]["name"]
        ]

    return run, eventually(pods, 30, "no pod")[0]


def token_of(kube: Kube, pod: Json, audience: str = contract.REPORT_AUDIENCE) -> str:
    """A token as the kubelet projects it, bound to the pod."""
    meta = pod["metadata"]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "boundObjectRef": bound, "expirationSeconds": 600},
    }
    path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/default/token"
    return str(kube.call("POST", path, request)["status"]["token"])


def expired(doors: Doors, token: str) -> str:
    """The same token, of yesterday, signed with the cluster's own key."""
    key = (doors.plane.state / "pki" / "sa.key").read_text()
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    yesterday = {name: claims[name] - 86_400 for name in ("exp", "iat", "nbf")}
    return jwt.encode({**claims, **yesterday}, key, header["alg"], {"kid": header["kid"]})
