"""The report channel: who may report, what is kept, what is answered. Its tokens are real."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer
from golden import FakeView
from raw_http import hang_up, raw_status, serving
from report_channel import (
    JOB,
    OTHER_KEY,
    PATH,
    POD,
    RUN,
    Channel,
    FakeCluster,
    FakeEngine,
    make_token,
)
from runs import NAMESPACE, NOW, done, make_job, make_pod, make_report, make_run, running
from yarl import URL

from everloop import contract, errors
from everloop.api.report import from_config_map
from everloop.handlers.kind import Key
from everloop.intake.reports import LARGEST_REPORT, SHARE, application

Dict = dict[str, Any]


@pytest.fixture
async def channel() -> AsyncIterator[Channel]:
    cluster = FakeCluster()
    engine = FakeEngine(cluster)
    cluster.put(RUN, JOB, POD)
    server = application(engine, cluster)  # type: ignore[arg-type]
    async with TestClient(TestServer(server)) as client:
        yield Channel(cluster, engine, client)


async def test_a_report_is_kept_before_it_is_acknowledged(channel: Channel) -> None:
    report = make_report(RUN)
    assert await channel.post(report) == (200, {"acknowledged": True})
    kept = channel.kept
    assert kept is not None
    assert kept["immutable"] is True
    assert json.loads(kept["data"][contract.REPORT_KEY]) == report
    assert from_config_map(kept) is not None
    assert json.loads(kept["data"]["images.json"])["train"].startswith("registry/train@sha256:")
    assert kept["metadata"]["ownerReferences"][0]["uid"] == RUN["metadata"]["uid"]
    assert channel.engine.woken == [Key("TrainingRun", NAMESPACE, "flights-1")]


async def test_reports_of_one_namespace_wait_for_each_other_alone(channel: Channel) -> None:
    run = make_run("cancer-1")
    job = make_job(run)
    pod = make_pod(job, done(), done(), running(), phase="Running")
    for item in (run, job, pod):
        item["metadata"]["namespace"] = "other-team"
    channel.cluster.put(run, job, pod)
    whose = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    token = make_token(**{"kubernetes.io": {"namespace": "other-team", "pod": whose}})
    path = contract.REPORT_PATH.format(namespace="other-team", run="cancer-1")

    channel.cluster.answers.clear()
    many = [asyncio.create_task(channel.post(make_report(RUN))) for _ in range(SHARE + 3)]
    await channel.cluster.asked(SHARE)
    other = asyncio.create_task(channel.post(make_report(run, namespace="other-team"), token, path))
    await channel.cluster.asked(SHARE + 1)
    await asyncio.sleep(0.1)  # for one too many
    assert channel.cluster.creations == SHARE + 1
    channel.cluster.answers.set()
    assert {status for status, _ in await asyncio.gather(other, *many)} == {200}


WHOLE_POD = {**POD, "spec": JOB["spec"]["template"]["spec"]}


@pytest.mark.parametrize(
    ("known", "read"),
    [
        ([RUN, JOB, WHOLE_POD], []),
        ([RUN, JOB], ["Pod"]),
        ([RUN, JOB, {**make_pod(JOB, done(), running()), "spec": WHOLE_POD["spec"]}], ["Pod"]),
        ([RUN, WHOLE_POD], ["Job"]),
        ([], ["Pod", "Job", "TrainingRun"]),
    ],
    ids=["all", "no pod", "not which images it runs", "no Job", "nothing"],
)
async def test_what_is_known_is_not_read(
    channel: Channel, known: list[Dict], read: list[str]
) -> None:
    channel.engine.view = FakeView(known)
    assert (await channel.post(make_report(RUN)))[0] == 200
    assert [kind for kind in channel.cluster.reads if not kind.startswith("/")] == read
    images = json.loads((channel.kept or {})["data"]["images.json"])
    assert len(images) == len(WHOLE_POD["spec"]["initContainers"]) + 1


async def test_a_pod_whose_watch_is_behind_for_a_moment_is_not_read(channel: Channel) -> None:
    before = {**make_pod(JOB, done(), running()), "spec": WHOLE_POD["spec"]}
    channel.engine.view = FakeView([RUN, JOB, before])
    later = FakeView([RUN, JOB, WHOLE_POD])
    asyncio.get_running_loop().call_later(0.1, setattr, channel.engine, "view", later)
    assert (await channel.post(make_report(RUN)))[0] == 200
    assert "Pod" not in channel.cluster.reads


async def test_of_a_cache_that_is_behind_the_cluster_knows_better(channel: Channel) -> None:
    before = {**RUN["metadata"], "uid": "uid-before"}
    channel.engine.view = FakeView([{**RUN, "metadata": before}])
    assert (await channel.post(make_report(RUN)))[0] == 200


async def test_the_same_report_again_is_fine_and_another_is_not(channel: Channel) -> None:
    report = make_report(RUN)
    await channel.post(report)
    assert (await channel.post(json.dumps(report, indent=4).encode()))[0] == 200
    status, answer = await channel.post({**report, "metrics": {"auc": "0.99"}})
    assert (status, answer["error"]) == (409, "the run has ended with a different report")
    kept = from_config_map(channel.kept)
    assert kept is not None
    assert kept.metrics == {"auc": "0.70"}


async def test_a_name_that_is_taken_by_a_stranger_is_told(channel: Channel) -> None:
    stranger = {"kind": "ConfigMap", "metadata": {"name": "flights-1-report", "uid": "x"}}
    channel.cluster.put(stranger)
    status, answer = await channel.post(make_report(RUN))
    assert status == 409
    assert "not of this run" in answer["error"]


BOUND = {"namespace": NAMESPACE, "pod": {"name": POD["metadata"]["name"], "uid": "other"}}


@pytest.mark.parametrize(
    ("token", "status", "text"),
    [
        ("", 401, "send the pod's projected token"),
        ("nonsense", 401, "not valid"),
        (make_token(aud=["https://kubernetes.default.svc"]), 401, "Audience"),
        (make_token(exp=time.time() - 60), 401, "expired"),
        (make_token(iss="https://elsewhere"), 401, "issuer"),
        (make_token(OTHER_KEY), 401, "Signature"),
        (make_token(OTHER_KEY, "key-2"), 401, "not signed by this cluster"),
        (jwt.encode({"aud": [contract.REPORT_AUDIENCE]}, "", algorithm="none"), 401, "not"),
        (make_token(**{"kubernetes.io": {"namespace": NAMESPACE}}), 401, "not bound to a pod"),
        (make_token(**{"kubernetes.io": BOUND}), 403, "is gone"),
        (make_token(**{"kubernetes.io": {**BOUND, "namespace": "x"}}), 403, "of namespace x"),
    ],
    ids=[
        "none",
        "nonsense",
        "other audience",
        "expired",
        "other issuer",
        "other key under a known name",
        "unknown key",
        "unsigned",
        "no pod",
        "a pod that is gone",
        "another namespace",
    ],
)
async def test_tokens_that_do_not_count(
    channel: Channel, token: str, status: int, text: str
) -> None:
    found, answer = await channel.post(make_report(RUN), token)
    assert found == status, answer
    assert text in answer["error"]
    assert channel.kept is None


async def test_a_pod_of_another_run_may_not_report(channel: Channel) -> None:
    other = make_run("flights-2")
    channel.cluster.put(other)
    path = contract.REPORT_PATH.format(namespace=NAMESPACE, run="flights-2")
    status, answer = await channel.post(make_report(other), path=path)
    assert (status, "not of a Job of TrainingRun flights-2" in answer["error"]) == (403, True)


@pytest.mark.parametrize(
    ("run", "status"),
    [("flights-1", 403), (f"..%2F..%2F{NAMESPACE}%2FTrainingRun%2Fflights-1", 404)],
    ids=["plain", "like a path, too"],
)
async def test_a_pod_whose_owner_is_named_like_a_path_speaks_for_nobody_elsewhere(
    channel: Channel, run: str, status: int
) -> None:
    """The API server takes any text for an owner's name; the uids are there for all to read."""
    owner = {**POD["metadata"]["ownerReferences"][0], "name": f"../../{NAMESPACE}/Job/flights-1-1"}
    meta = {**POD["metadata"], "namespace": "elsewhere", "ownerReferences": [owner]}
    channel.cluster.put({**POD, "metadata": meta})
    bound = {"namespace": "elsewhere", "pod": {"name": meta["name"], "uid": meta["uid"]}}
    path = URL(contract.REPORT_PATH.format(namespace="elsewhere", run=run), encoded=True)
    token = make_token(**{"kubernetes.io": bound})
    assert (await channel.post(make_report(RUN), token, path))[0] == status
    assert channel.kept is None


@pytest.mark.parametrize(
    "run", ["..%2F..%2Fml%2Ftrainingruns%2Fflights-1", "x%0Aforged", "%2E%2E", "Flights", "x%3Fy"]
)
async def test_what_no_run_can_be_called_is_looked_for_nowhere(channel: Channel, run: str) -> None:
    path = URL(contract.REPORT_PATH.format(namespace=NAMESPACE, run=run), encoded=True)
    assert (await channel.post(make_report(RUN), path=path))[0] == 404
    assert channel.cluster.reads == []


@pytest.mark.parametrize("again", ["flights-2", "flights-3"], ids=["one name", "another name"])
async def test_a_pod_that_insists_costs_no_more_reads(channel: Channel, again: str) -> None:
    other = make_run("flights-2")
    channel.cluster.put(other)
    path = contract.REPORT_PATH.format(namespace=NAMESPACE, run="flights-2")
    await channel.post(make_report(other), path=path)
    reads = len(channel.cluster.reads)
    path = contract.REPORT_PATH.format(namespace=NAMESPACE, run=again)
    status, answer = await channel.post(make_report(other), path=path)
    assert (status, f"not of a Job of TrainingRun {again}" in answer["error"]) == (403, True)
    assert len(channel.cluster.reads) == reads
    assert (await channel.post(make_report(RUN)))[0] == 200, "of its own run it may tell"


async def test_a_predecessor_of_the_same_name_may_not_report(channel: Channel) -> None:
    channel.cluster.put({**RUN, "metadata": {**RUN["metadata"], "uid": "uid-new"}})
    assert (await channel.post(make_report(RUN)))[0] == 403


async def test_a_pod_that_is_no_jobs_may_not_report(channel: Channel) -> None:
    channel.cluster.put({**POD, "metadata": {**POD["metadata"], "ownerReferences": []}})
    assert (await channel.post(make_report(RUN)))[0] == 403


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {**POD["metadata"], "deletionTimestamp": NOW}},
        {"status": {**POD["status"], "phase": "Failed"}},
    ],
    ids=["being deleted", "ended"],
)
async def test_a_pod_that_is_over_may_not_report(channel: Channel, change: Dict) -> None:
    channel.cluster.put({**POD, **change})
    status, answer = await channel.post(make_report(RUN))
    assert (status, "has ended" in answer["error"]) == (403, True)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"\xff", 422, "not JSON"),
        (json.dumps(make_report(RUN)).encode("utf-16"), 422, "not JSON"),
        (b"[" * 100_000, 422, "not JSON"),
        (b"[]", 422, "cannot be read"),
        (make_report(RUN, schema=2), 422, "schema"),
        (make_report(RUN, artifact=None), 422, "artifact"),
        (make_report(RUN, metrics={"auc": "nan"}), 422, "metrics.auc"),
        (make_report(RUN, finishedAt="2026-01-01 12:00"), 422, "finishedAt"),
        (make_report(RUN, outcome="Failed"), 422, "failure"),
        (make_report(RUN, attempt=2), 422, "attempt"),
        (make_report(RUN, uid="other"), 403, "another run"),
        (b"x" * (LARGEST_REPORT + 1), 413, "larger than"),
    ],
    ids=[
        "not text",
        "not UTF-8",
        "deep",
        "not an object",
        "other schema",
        "no artifact",
        "not a number",
        "not a time",
        "no failure",
        "other attempt",
        "other uid",
        "too large",
    ],
)
async def test_reports_that_are_refused(
    channel: Channel, body: Any, status: int, text: str
) -> None:
    found, answer = await channel.post(body)
    assert found == status, answer
    assert text in answer["error"]
    assert channel.kept is None


async def test_a_standby_sends_the_runner_on(channel: Channel) -> None:
    channel.engine.leader = False
    assert (await channel.post(make_report(RUN)))[0] == 503
    assert channel.kept is None


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (errors.Transient("no answer"), 503),
        (errors.Forbidden("exceeded quota", 403), 503),
        (errors.Invalid("too long", 422), 422),
        (errors.Terminating("namespace is being deleted", 403), 422),
    ],
    ids=str,
)
async def test_what_the_api_server_does_not_keep_is_not_acknowledged(
    channel: Channel, failure: errors.ApiError, status: int
) -> None:
    channel.cluster.failure = failure
    assert (await channel.post(make_report(RUN)))[0] == status
    assert channel.engine.woken == []


async def test_who_lost_the_lease_meanwhile_keeps_nothing(channel: Channel) -> None:
    """It led when the report came, and was frozen before it was kept: the engine may not write."""
    channel.engine.cluster = FakeCluster(failure=errors.Transient("does not hold the Lease"))
    assert (await channel.post(make_report(RUN)))[0] == 503
    assert ("ConfigMap", "flights-1-report") not in channel.cluster.objects


async def test_strangers_cannot_make_us_fetch_keys_all_the_time(channel: Channel) -> None:
    for number in range(5):
        await channel.post(make_report(RUN), make_token(OTHER_KEY, f"key-{number + 2}"))
    assert channel.cluster.reads.count("/openid/v1/jwks") == 1


async def test_while_the_keys_cannot_be_read_nobody_is_refused_for_good(channel: Channel) -> None:
    channel.cluster.away = True
    for _ in range(5):
        assert (await channel.post(make_report(RUN)))[0] == 503
    assert len(channel.cluster.reads) == 1, "asked once a second"


async def test_bytes_that_are_no_text_are_no_token(channel: Channel) -> None:
    assert await raw_status(channel.client.port, PATH, b"Bearer \xff") == 401


async def test_a_sender_that_hangs_up_is_no_bug(
    channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    server = application(channel.engine, channel.cluster)  # type: ignore[arg-type]
    async with serving(server) as port, asyncio.timeout(5):
        await hang_up(port, PATH, make_token())
        while "reports_refused" not in channel.engine.counted:  # noqa: ASYNC110 (the server's part)
            await asyncio.sleep(0.01)
    assert "Traceback" not in caplog.text
    assert channel.kept is None
