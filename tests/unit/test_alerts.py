"""The intake of alerts: whom the poller wakes, and what the webhook refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from golden import FakeView
from raw_http import hang_up, raw_status, serving

from everloop.handlers.kind import Key
from everloop.intake.alert_poller import Poller
from everloop.intake.alert_webhook import LARGEST_BODY, PATH, application
from everloop.prometheus.client import Alert, PrometheusUnavailable, Rule, RuleGroup, Sample
from everloop.settings import Settings

TOKEN = "a-long-secret"
WATCH = Key("Monitor", "ml", "watch")
LABELS = {"everloop_namespace": "ml", "everloop_monitor": "watch"}


class FakeMetrics:
    def __init__(self) -> None:
        self.counted: dict[str, int] = {}

    def increase(self, name: str, amount: int = 1) -> None:
        self.counted[name] = self.counted.get(name, 0) + amount


class FakeApi:
    """EngineApi with one Monitor."""

    def __init__(self, leader: bool = True) -> None:
        meta = {"name": "watch", "namespace": "ml"}
        self.view = FakeView([{"apiVersion": "v1", "kind": "Monitor", "metadata": meta}])
        self.metrics = FakeMetrics()
        self.kube: Any = None
        self.leader = leader
        self.woken: list[Key] = []

    def wake(self, key: Key) -> None:
        self.woken.append(key)

    def is_leader(self) -> bool:
        return self.leader


class FakePrometheus:
    def __init__(self) -> None:
        self.labels: Mapping[str, str] = LABELS
        self.evaluated, self.health = True, "ok"
        self.alerts: tuple[Alert, ...] = ()
        self.down = 0.0
        self.works = True
        self.asked = 0

    async def rules(self, selector: str) -> list[RuleGroup]:
        self.asked += 1
        if not self.works:
            raise PrometheusUnavailable("down")
        rule = Rule("EverloopInputDrift", self.health, "", self.alerts)
        return [RuleGroup("g", self.evaluated, self.labels, (rule,))]

    async def query(self, promql: str, at: datetime | None = None) -> list[Sample]:
        self.asked += 1
        if "targets:down" not in promql:
            return []
        return [Sample({**self.labels, "__name__": "everloop:targets:down"}, self.down, 0.0)]

    async def retention_seconds(self) -> float | None:
        return None


def poller() -> tuple[Poller, FakeApi, FakePrometheus]:
    api, prometheus = FakeApi(), FakePrometheus()
    return Poller(api, prometheus, Settings(poll_interval_seconds=1)), api, prometheus


def alert(state: str, minute: int = 0) -> Alert:
    since = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
    return Alert({**LABELS, "everloop_signal": "InputDrift"}, {}, state, since, 2.0)


def test_a_monitor_is_woken_when_something_changed_and_only_then() -> None:
    polling, api, prometheus = poller()

    async def look() -> int:
        before = len(api.woken)
        await polling.poll()
        return len(api.woken) - before

    async def scenario() -> list[int]:
        woken = [await look(), await look()]
        for change in (
            {"alerts": (alert("pending"),)},
            {"alerts": (alert("firing"),)},
            {"alerts": (alert("firing"),)},
            {"alerts": (alert("firing", minute=5),)},
            {"alerts": ()},
            {"down": 1.0},
            {"health": "err"},
            {"evaluated": False},
        ):
            vars(prometheus).update(change)
            woken.append(await look())
        return woken

    assert asyncio.run(scenario()) == [1, 0, 1, 1, 0, 1, 1, 1, 1, 1]
    assert set(api.woken) == {WATCH}


def test_the_number_of_requests_does_not_depend_on_monitors() -> None:
    polling, _, prometheus = poller()
    asyncio.run(polling.poll())
    assert prometheus.asked == 3


def test_an_outage_is_told_once_and_its_end_once() -> None:
    polling, api, prometheus = poller()

    async def scenario() -> None:
        await polling.poll()
        prometheus.works = False
        pauses = []
        for _ in range(7):
            await polling.poll()
            pauses.append(polling.pause())
        assert pauses == [2, 4, 8, 16, 30, 30, 30]
        prometheus.works = True
        await polling.poll()
        assert polling.pause() == 1

    asyncio.run(scenario())
    assert api.woken == [WATCH, WATCH, WATCH]  # first look, outage, its end


@pytest.mark.parametrize(
    "labels", [{**LABELS, "everloop_monitor": "unknown"}, {"team": "x"}], ids=["unknown", "foreign"]
)
def test_rules_of_others_wake_nobody(labels: dict[str, str]) -> None:
    polling, api, prometheus = poller()
    prometheus.labels = labels
    asyncio.run(polling.poll())
    assert api.woken == []


def notification(*labels: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": "4", "alerts": [{"status": "firing", "labels": each} for each in labels]}


def call(
    api: FakeApi,
    token_file: Path,
    body: str | bytes,
    *,
    token: str | None = f"Bearer {TOKEN}",
) -> tuple[int, Any]:
    async def scenario() -> tuple[int, Any]:
        server: web.Application = application(api, token_file)
        async with TestClient(TestServer(server)) as client:
            headers = {"Authorization": token} if token is not None else {}
            answer = await client.post(PATH, data=body, headers=headers)
            return answer.status, await answer.json()

    return asyncio.run(scenario())


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


def test_a_notification_wakes_each_monitor_it_names_once(token_file: Path) -> None:
    api = FakeApi()
    body = json.dumps(notification(LABELS, LABELS, {**LABELS, "everloop_monitor": "unknown"}, {}))
    assert call(api, token_file, body) == (200, {"woken": 1})
    assert api.woken == [WATCH]


@pytest.mark.parametrize(
    "token",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü"],
)
def test_callers_without_the_token_are_refused(token: str | None, token_file: Path) -> None:
    api = FakeApi()
    status, _ = call(api, token_file, json.dumps(notification(LABELS)), token=token)
    assert (status, api.woken) == (401, [])
    assert api.metrics.counted == {"webhook_refused": 1}


async def test_bytes_that_are_no_text_are_a_wrong_token(token_file: Path) -> None:
    api = FakeApi()
    async with TestServer(application(api, token_file)) as server:
        assert await raw_status(server.port, PATH, b"Bearer \xff") == 401
    assert api.metrics.counted == {"webhook_refused": 1}


async def test_a_sender_that_hangs_up_is_no_bug(
    token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(application(FakeApi(), token_file)) as port:
        await hang_up(port, PATH, TOKEN)
        await asyncio.sleep(0.1)  # for the server to see it
    assert "Traceback" not in caplog.text


def test_an_empty_or_missing_token_file_lets_nobody_in(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    for file in (empty, tmp_path / "missing"):
        assert call(FakeApi(), file, "{}", token="Bearer ")[0] == 401


def test_a_rotated_token_holds_at_once(token_file: Path) -> None:
    api = FakeApi()
    token_file.write_text("another")
    assert call(api, token_file, json.dumps(notification(LABELS)))[0] == 401
    body = json.dumps(notification(LABELS))
    assert call(api, token_file, body, token="Bearer another")[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"alerts": {}}',
        b'{"alerts": [1]}',
        b'{"alerts": [{"labels": []}]}',
        b"[" * 100_000,
    ],
    ids=["empty", "cut", "bytes", "list", "none", "no-list", "number", "labels", "deep"],
)
def test_what_is_no_notification_is_refused(body: bytes, token_file: Path) -> None:
    api = FakeApi()
    status, _ = call(api, token_file, body)
    assert (status, api.woken) == (422, [])


def test_labels_that_are_no_strings_are_passed_over(token_file: Path) -> None:
    body = json.dumps(notification({"everloop_namespace": {}, "everloop_monitor": 1}))
    assert call(FakeApi(), token_file, body) == (200, {"woken": 0})


def test_too_large_is_refused(token_file: Path) -> None:
    assert call(FakeApi(), token_file, b"x" * (LARGEST_BODY + 1))[0] == 413


def test_a_standby_says_try_again(token_file: Path) -> None:
    api = FakeApi(leader=False)
    status, _ = call(api, token_file, json.dumps(notification(LABELS)))
    assert (status, api.woken) == (503, [])
