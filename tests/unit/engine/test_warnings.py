"""Warnings are read a namespace at a time, for all who ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from everloop.cluster.warnings import Warnings

Json = dict[str, Any]


def warning(uid: str, reason: str, last: str) -> Json:
    about = {"involvedObject": {"uid": uid}, "reason": reason, "lastTimestamp": last}
    return about | {"metadata": {"creationTimestamp": "0"}}


@dataclass
class FakeClient:
    """Serves lists of events, and remembers for which namespaces."""

    items: list[Json]
    asked: list[str] = field(default_factory=list)

    async def pages(
        self, _version: str, _kind: str, namespace: str, fields: str
    ) -> AsyncIterator[Json]:
        assert fields == "type=Warning"
        self.asked.append(namespace)
        await asyncio.sleep(0)
        for item in self.items:
            yield {"items": [item]}


async def test_those_who_ask_at_once_share_a_list() -> None:
    client = FakeClient([warning("a", "Late", "2"), warning("b", "Other", "1"),
                         warning("a", "Early", "1")])  # fmt: skip
    warnings = Warnings(client)  # type: ignore[arg-type]
    found = await asyncio.gather(*(warnings.of("ml", uid) for uid in ("a", "b", "c")))
    assert [[event["reason"] for event in events] for events in found] == [
        ["Early", "Late"], ["Other"], []
    ]  # fmt: skip
    await warnings.of("other", "a")
    assert client.asked == ["ml", "other"]


async def test_a_list_is_forgotten_once_it_is_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when somebody asks about another namespace: it may be long."""
    monkeypatch.setattr("everloop.cluster.warnings.FRESH_SECONDS", 0.0)
    warnings = Warnings(FakeClient([warning("a", "Late", "2")]))  # type: ignore[arg-type]
    await warnings.of("ml", "a")
    await asyncio.sleep(0.01)
    assert not warnings._namespaces
