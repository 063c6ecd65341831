"""Events: the first is written, repetitions are counted on it once a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everloop.cluster.events import FORGET_SECONDS, Recorder
from everloop.plans.plan import Event

Json = dict[str, Any]
META = {"name": "flights", "namespace": "ml", "uid": "1", "resourceVersion": "7"}
RUN = {"apiVersion": "everloop.dev/v1alpha1", "kind": "TrainingRun", "metadata": META}
FAILED = Event("Failed", "step train exited with code 1", "Warning")


@dataclass
class FakeClient:
    """Remembers (what, name, count) of every write."""

    wrote: list[tuple[str, str, int]] = field(default_factory=list)

    async def create(self, manifest: Mapping[str, Any]) -> None:
        assert manifest["involvedObject"]["uid"] == "1"
        self.wrote.append(("create", manifest["metadata"]["name"], manifest["count"]))

    async def patch(self, manifest: Mapping[str, Any], _type: str, body: Json) -> None:
        assert set(body) == {"count", "lastTimestamp"}
        self.wrote.append(("patch", manifest["metadata"]["name"], body["count"]))


async def test_repetitions_are_counted_on_the_first() -> None:
    client, now = FakeClient(), [0.0]
    recorder = Recorder(client, "pod", lambda: None, clock=lambda: now[0])  # type: ignore[arg-type]
    for now[0] in (0.0, 1.0, 59.0, 61.0, 62.0, FORGET_SECONDS + 1):
        recorder.record(RUN, FAILED)
    recorder.record(RUN, Event("Failed", "something else"))
    writing = asyncio.create_task(recorder.run())
    await recorder.flushed()
    writing.cancel()
    names = [name for _, name, _ in client.wrote]
    assert [(verb, count) for verb, _, count in client.wrote] == [
        ("create", 1), ("patch", 4), ("create", 1), ("create", 1)
    ]  # fmt: skip
    assert names[0] == names[1]
    assert len(set(names)) == 3
