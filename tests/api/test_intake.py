"""Reports and alerts at a real operator's doors: who gets in, and what refusing the rest costs."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import pytest
from devcluster.control_plane_only import ControlPlane
from kube import Json, Kube, ref
from operator_process import EVERLOOP, OperatorProcess, eventually
from rights import account
from runs import make_report
from samples import make_training_run

from everloop import contract
from everloop.intake.alert_webhook import PATH as WEBHOOK

log = logging.getLogger(__name__)
NAMESPACE = "intake"
SECRET = "a-token-that-alertmanager-knows"
TEN_MEGABYTES = b"x" * 10_000_000
FLOOD, PER_SECOND, AT_ONCE = 4000, 1000, 40
FLAT = 20_000_000  # bytes that memory may grow by


@dataclass(frozen=True)
class Doors:
    """A running operator's report channel and webhook."""

    operator: OperatorProcess
    kube: Kube
    plane: ControlPlane
    ca: str

    def report_url(self, run: str) -> str:
        path = contract.REPORT_PATH.format(namespace=NAMESPACE, run=run)
        return f"https://127.0.0.1:{self.operator.report_port}{path}"

    @property
    def webhook_url(self) -> str:
        return f"https://127.0.0.1:{self.operator.webhook_port}{WEBHOOK}"

    def session(self) -> aiohttp.ClientSession:
        trust = ssl.create_default_context(cadata=self.ca)
        trust.check_hostname = False  # the certificate is of the Service
        connector = aiohttp.TCPConnector(ssl=trust, limit=AT_ONCE)
        return aiohttp.ClientSession(connector=connector)

    async def post(self, url: str, token: str, body: Any) -> tuple[int, str]:
        """Status and answer; 0 where the connection was closed on a body that nobody wants."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session() as session:
            try:
                async with session.post(url, data=data, headers=headers) as response:
                    return response.status, await response.text()
            except aiohttp.ClientError as error:
                return 0, str(error)


@pytest.fixture(scope="module")
def doors(
    kube: Kube, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("intake")
    (folder / "token").write_text(SECRET)
    kube.namespace(NAMESPACE)
    settings = {"namespace": NAMESPACE, "watch_namespaces": NAMESPACE}
    with OperatorProcess(
        account(kube, folder, NAMESPACE),
        folder / "operator.log",
        command=EVERLOOP,
        webhook_token_file=folder / "token",
        **settings,
    ) as operator:
        operator.wait_leading()
        secret = eventually(
            lambda: kube.get(ref("v1", "Secret", NAMESPACE, "everloop-report-ca")), 20, "no CA"
        )
        ca = base64.b64decode(secret["data"]["ca-1.crt"]).decode()
        yield Doors(operator, kube, plane, ca)


def make_pod_of(doors: Doors, name: str) -> tuple[Json, Json]:
    """A run, and a pod of its first Job as the Job controller makes it; no node runs it."""
    kube = doors.kube
    run = kube.create(make_training_run(name, NAMESPACE))
    job = eventually(lambda: kube.get(ref("batch/v1", "Job", NAMESPACE, f"{name}-1")), 20, "no Job")

    def pods() -> list[Json]:
        return [
            pod
            for pod in kube.list("v1", "pods", NAMESPACE)
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


async def test_only_the_runs_own_pod_may_report(doors: Doors) -> None:
    kube = doors.kube
    run, pod = make_pod_of(doors, "mine")
    _, other = make_pod_of(doors, "others")
    url, report = doors.report_url("mine"), make_report(run, namespace=NAMESPACE)
    mine = token_of(kube, pod)
    for token, status, words in (
        ("", 401, "projected token"),
        (token_of(kube, other), 403, "not of a Job of TrainingRun mine"),
        (token_of(kube, pod, "https://kubernetes.default.svc"), 401, "Audience"),
        (expired(doors, mine), 401, "expired"),
    ):
        assert (await doors.post(url, token, report))[0] == status, words
        assert words in (await doors.post(url, token, report))[1]
    kept = ref("v1", "ConfigMap", NAMESPACE, "mine-report")
    assert kube.get(kept) is None
    status, answer = await doors.post(url, mine, report)
    assert status == 200, answer
    assert kube.get(kept)
    version = ref(contract.API_VERSION, "ModelVersion", NAMESPACE, "sample-v1")
    eventually(lambda: kube.get(version), 20, "no ModelVersion")


async def test_ten_megabytes_are_refused_and_not_kept(doors: Doors) -> None:
    _, pod = make_pod_of(doors, "large")
    before = doors.operator.resident_bytes()
    url = doors.report_url("large")
    mine = token_of(doors.kube, pod)
    for _ in range(5):
        assert (await doors.post(url, mine, TEN_MEGABYTES))[0] in (413, 0)
        assert (await doors.post(url, "nonsense", TEN_MEGABYTES))[0] in (401, 0)
        assert (await doors.post(doors.webhook_url, SECRET, TEN_MEGABYTES))[0] in (413, 0)
        assert (await doors.post(doors.webhook_url, "wrong", TEN_MEGABYTES))[0] in (401, 0)
    assert doors.operator.resident_bytes() - before < FLAT
    assert doors.kube.get(ref("v1", "ConfigMap", NAMESPACE, "large-report")) is None


async def test_the_webhook_asks_for_its_token(doors: Doors) -> None:
    empty = {"version": "4", "alerts": []}
    for token in ("", "wrong", SECRET[:-1], SECRET + "x"):
        assert (await doors.post(doors.webhook_url, token, empty))[0] == 401
    assert (await doors.post(doors.webhook_url, SECRET, empty))[0] == 200


@pytest.mark.parametrize("door", ["webhook", "reports"])
async def test_a_flood_is_refused_cheaply(doors: Doors, door: str) -> None:
    """A thousand requests a second without a right: all refused, memory flat, work goes on."""
    url = doors.webhook_url if door == "webhook" else doors.report_url("nobody")
    lines = doors.operator.log.read_text().count("\n")
    async with doors.session() as session:
        await _send(session, url, 200)  # connections and their buffers are there
        before, started = doors.operator.resident_bytes(), time.monotonic()
        answers = await _send(session, url, FLOOD)
        seconds = time.monotonic() - started
    grown = doors.operator.resident_bytes() - before
    log.warning("%s: %d in %.1f s, memory grew by %.1f MB", door, FLOOD, seconds, grown / 1e6)
    assert answers == {401: FLOOD}
    assert grown < FLAT
    assert doors.operator.log.read_text().count("\n") - lines < seconds + 10
    assert doors.operator.get("/healthz") == (200, "ok")
    name = f"after-{door}"
    doors.kube.create(make_training_run(name, NAMESPACE))
    job = ref("batch/v1", "Job", NAMESPACE, f"{name}-1")
    eventually(lambda: doors.kube.get(job), 10, "it does not work any more")


async def _send(session: aiohttp.ClientSession, url: str, count: int) -> Counter[int]:
    """This many requests, at PER_SECOND or as fast as they are answered."""
    answers: Counter[int] = Counter()
    numbers = iter(range(count))
    started = asyncio.get_running_loop().time()

    async def work() -> None:
        for number in numbers:
            due = started + number / PER_SECOND
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            headers = {"Authorization": f"Bearer wrong-{number}"}
            async with session.post(url, data=b"{}", headers=headers) as response:
                await response.read()
                answers[response.status] += 1

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return answers
