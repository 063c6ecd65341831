"""Reports and alerts at a real operator's doors: who gets in, and what is too large to be read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from devcluster.control_plane_only import ControlPlane
from doors import NO_ALERTS, SECRET, Doors, expired, make_pod_of, open_doors, token_of
from kube import Kube, ref
from operator_process import eventually
from runs import make_report

from everloop import contract
from everloop.intake.alert_webhook import LARGEST_BODY
from everloop.intake.reports import LARGEST_REPORT

log = logging.getLogger(__name__)
TEN_MEGABYTES = b"x" * 10_000_000
AT_ONCE = 20
FLAT = 20_000_000  # bytes that memory may grow by, at its peak


@pytest.fixture(scope="module")
def doors(
    kube: Kube, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Doors]:
    with open_doors(kube, plane, tmp_path_factory.mktemp("intake"), "intake") as doors:
        yield doors


async def test_only_the_runs_own_pod_may_report(doors: Doors) -> None:
    kube = doors.kube
    run, pod = make_pod_of(doors, "mine")
    _, other = make_pod_of(doors, "others")
    url, report = doors.report_url("mine"), make_report(run, namespace=doors.namespace)
    mine = token_of(kube, pod)
    for token, status, words in (
        ("", 401, "projected token"),
        (token_of(kube, other), 403, "not of a Job of TrainingRun mine"),
        (token_of(kube, pod, "https://kubernetes.default.svc"), 401, "Audience"),
        (expired(doors, mine), 401, "expired"),
    ):
        assert (await doors.post(url, token, report))[0] == status, words
        assert words in (await doors.post(url, token, report))[1]
    kept = ref("v1", "ConfigMap", doors.namespace, "mine-report")
    assert kube.get(kept) is None
    status, answer = await doors.post(url, mine, report)
    assert status == 200, answer
    assert kube.get(kept)
    version = ref(contract.API_VERSION, "ModelVersion", doors.namespace, "sample-v1")
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
    assert doors.kube.get(ref("v1", "ConfigMap", doors.namespace, "large-report")) is None
    status, answer = await doors.post(url, mine, make_report(run, namespace=doors.namespace))
    assert status == 200, answer
    assert (await doors.post(doors.webhook_url, SECRET, NO_ALERTS))[0] == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["with-length", "chunked"])
async def test_many_large_bodies_at_once_are_not_kept(doors: Doors, chunked: bool) -> None:
    """As many from who may send as from strangers; in chunks nobody knows how many come."""
    name = f"many-{chunked}".lower()
    _, pod = make_pod_of(doors, name)
    url = doors.report_url(name)
    callers = (
        (url, token_of(doors.kube, pod), 413),
        (url, "nonsense", 401),
        (doors.webhook_url, SECRET, 413),
        (doors.webhook_url, "wrong", 401),
    )

    async def post(where: str, token: str, wanted: int) -> bool:
        status, _ = await doors.post(where, token, chunks() if chunked else TEN_MEGABYTES)
        return status in (wanted, 0)  # 0: closed while the client still wrote

    doors.operator.forget_peak()
    before = doors.operator.resident_bytes()
    answers = await asyncio.gather(*(post(*caller) for caller in callers * (AT_ONCE // 4)))
    grown = doors.operator.peak_bytes() - before
    log.warning("%d large bodies at once: memory grew by %.1f MB", AT_ONCE, grown / 1e6)
    assert all(answers)
    assert grown < FLAT
    assert (await doors.post(doors.webhook_url, SECRET, NO_ALERTS))[0] == 200


async def chunks() -> AsyncIterator[bytes]:
    """Ten megabytes that do not say so."""
    for _ in range(100):
        yield b"x" * 100_000


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
