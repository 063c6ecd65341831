"""Reports and alerts at a real operator's doors: who gets in, and what refusing the rest costs."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from devcluster.control_plane_only import ControlPlane
from kube import Json, Kube, ref
from operator_process import EVERLOOP, OperatorProcess, eventually
from rights import ACCOUNT, account
from runs import make_report
from samples import make_training_run

from everloop import contract
from everloop.intake.alert_webhook import LARGEST_BODY
from everloop.intake.alert_webhook import PATH as WEBHOOK
from everloop.intake.reports import LARGEST_REPORT

log = logging.getLogger(__name__)
NAMESPACE = "intake"
SECRET = "a-token-that-alertmanager-knows"
TEN_MEGABYTES = b"x" * 10_000_000
PER_SECOND, AT_ONCE = 1000, 40
FLAT = 20_000_000  # bytes that memory may grow by, at its peak
NO_ALERTS = {"version": "4", "alerts": []}


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

    @property
    def health_url(self) -> str:
        return f"http://127.0.0.1:{self.operator.metrics_port}/healthz"

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
    run, pod = make_pod_of(doors, "large")
    url = doors.report_url("large")
    mine = token_of(doors.kube, pod)
    await _sizes_at_the_limit(doors, url, mine)
    doors.operator.forget_peak()
    before = doors.operator.resident_bytes()
    for _ in range(5):  # the connection may be closed while the client still writes
        assert (await doors.post(url, mine, TEN_MEGABYTES))[0] in (413, 0)
        assert (await doors.post(url, "nonsense", TEN_MEGABYTES))[0] in (401, 0)
        assert (await doors.post(doors.webhook_url, SECRET, TEN_MEGABYTES))[0] in (413, 0)
        assert (await doors.post(doors.webhook_url, "wrong", TEN_MEGABYTES))[0] in (401, 0)
    assert doors.operator.resident_bytes() - before < FLAT
    grown = doors.operator.peak_bytes() - before
    log.warning("twenty large bodies: memory grew by %.1f MB at its peak", grown / 1e6)
    assert grown < FLAT
    assert doors.kube.get(ref("v1", "ConfigMap", NAMESPACE, "large-report")) is None
    status, answer = await doors.post(url, mine, make_report(run, namespace=NAMESPACE))
    assert status == 200, answer
    assert (await doors.post(doors.webhook_url, SECRET, NO_ALERTS))[0] == 200


async def _sizes_at_the_limit(doors: Doors, url: str, mine: str) -> None:
    """A body is answered, not cut off, at the limit: read below it, too large above."""
    for where, token, limit in (
        (url, mine, LARGEST_REPORT),
        (doors.webhook_url, SECRET, LARGEST_BODY),
    ):
        assert (await doors.post(where, token, b"x" * (limit - 1)))[0] == 422
        status, answer = await doors.post(where, token, b"x" * (limit + 1))
        assert (status, str(limit) in answer) == (413, True), answer
        assert (await doors.post(where, "nonsense", b"x" * (limit + 1)))[0] == 401


async def test_the_webhook_asks_for_its_token(doors: Doors) -> None:
    for token in ("", "wrong", SECRET[:-1], SECRET + "x"):
        assert (await doors.post(doors.webhook_url, token, NO_ALERTS))[0] == 401
    assert (await doors.post(doors.webhook_url, SECRET, NO_ALERTS))[0] == 200


# --- floods ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Flood:
    """Requests with tokens that are not good at this door, and what refusing them may cost."""

    door: str
    tokens: Callable[[Doors, str, str], Sequence[str]]  # by those of this run's pod, of another's
    status: int = 401
    reads: float = 0.01  # of the API server, for each; the cluster's keys are read every 10 s
    processor: float = 8.0  # for each, of what GET /healthz takes; 3 by itself, 5 on a busy machine


def words(_: Doors, mine: str, others: str) -> Sequence[str]:
    return [f"wrong-{number}" for number in range(4000)]


def unknown_keys(_: Doors, mine: str, others: str) -> Sequence[str]:
    """Well-formed, and each says it is signed by a key that the cluster does not have."""
    claims = jwt.decode(mine, options={"verify_signature": False})
    key = ec.generate_private_key(ec.SECP256R1())
    return [jwt.encode(claims, key, "ES256", {"kid": f"unknown-{n}"}) for n in range(4000)]


def of_yesterday(doors: Doors, mine: str, others: str) -> Sequence[str]:
    return [expired(doors, mine)] * 4000


def of_another_run(_: Doors, mine: str, others: str) -> Sequence[str]:
    return [others] * 1000


FLOODS = {
    "webhook-words": Flood("webhook", words),
    "webhook-unknown-keys": Flood("webhook", unknown_keys),
    "reports-words": Flood("reports", words),
    "reports-unknown-keys": Flood("reports", unknown_keys),
    "reports-expired": Flood("reports", of_yesterday),
    # Of a pod that is not known to run yet, pod and run are read, every ten seconds.
    "reports-another-run": Flood("reports", of_another_run, status=403, reads=0.05),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_refused_cheaply(doors: Doors, name: str) -> None:
    """A thousand requests a second without a right: all refused, memory flat, work goes on."""
    flood = FLOODS[name]
    _, pod = make_pod_of(doors, f"{name}-mine")
    _, other = make_pod_of(doors, f"{name}-other")
    url = doors.webhook_url if flood.door == "webhook" else doors.report_url(f"{name}-mine")
    tokens = flood.tokens(doors, token_of(doors.kube, pod), token_of(doors.kube, other))
    assert len(tokens) >= PER_SECOND
    lines = doors.operator.log.read_text().count("\n")
    async with doors.session() as session:
        before = await _measured(doors, session, "GET", doors.health_url, [""] * PER_SECOND)
        cost = await _measured(doors, session, "POST", url, tokens)
        after = await _measured(doors, session, "GET", doors.health_url, [""] * PER_SECOND)
    plain = (before.processor_seconds + after.processor_seconds) / 2  # whatever else runs here
    dearness = cost.processor_seconds / plain
    log.warning("%s: %.1f times GET /healthz; %s", name, dearness, cost)
    assert before.answers == after.answers == {200: PER_SECOND}
    assert cost.answers == {flood.status: len(tokens)}
    assert dearness < flood.processor
    assert cost.reads < flood.reads
    assert cost.grown < FLAT
    written = doors.operator.log.read_text().count("\n") - lines
    assert written < before.seconds + cost.seconds + after.seconds + 10
    assert doors.operator.get("/healthz") == (200, "ok")
    doors.kube.create(make_training_run(f"{name}-after", NAMESPACE))
    job = ref("batch/v1", "Job", NAMESPACE, f"{name}-after-1")
    eventually(lambda: doors.kube.get(job), 20, "it does not work any more")


@dataclass(frozen=True)
class Cost:
    """What answering requests took."""

    answers: Counter[int]
    seconds: float
    grown: int  # bytes, at the peak
    processor_seconds: float  # for each
    reads: float  # of the API server, for each


async def _measured(
    doors: Doors, session: aiohttp.ClientSession, method: str, url: str, tokens: Sequence[str]
) -> Cost:
    operator = doors.operator
    await _send(doors, session, method, url, tokens[:200])  # connections and buffers are there
    operator.forget_peak()
    before, used, read = operator.resident_bytes(), operator.processor_seconds(), _reads(doors)
    started = time.monotonic()
    answers = await _send(doors, session, method, url, tokens)
    return Cost(
        answers,
        time.monotonic() - started,
        operator.peak_bytes() - before,
        (operator.processor_seconds() - used) / len(tokens),
        (_reads(doors) - read) / len(tokens),
    )


def _reads(doors: Doors) -> int:
    """How often the operator has read something of the API server, by the audit log."""
    audit_log = doors.plane.audit_log
    assert audit_log is not None
    who = f'"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"'.encode()
    with Path(audit_log).open("rb") as lines:
        return sum(b'"verb":"get"' in line and who in line for line in lines)


async def _send(
    doors: Doors, session: aiohttp.ClientSession, method: str, url: str, tokens: Sequence[str]
) -> Counter[int]:
    """A request with each token, at PER_SECOND or as fast as they are answered."""
    answers: Counter[int] = Counter()
    numbered = iter(enumerate(tokens))
    started = asyncio.get_running_loop().time()

    async def work() -> None:
        for number, token in numbered:
            due = started + number / PER_SECOND
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            headers = {"Authorization": f"Bearer {token}"}
            data = b"{}" if method == "POST" else None
            try:
                async with session.request(method, url, data=data, headers=headers) as response:
                    await response.read()
                    answers[response.status] += 1
            except aiohttp.ClientError as error:
                raise AssertionError(
                    f"request {number} had no answer: {error!r}. Answers before: {answers}; "
                    f"exit code {doors.operator.exit_code()}. {doors.operator.tail()}"
                ) from error

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return answers
