"""What is made for a parent depends on whether it is still there, whatever the cache says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from everloop import errors
from everloop.cluster.apply import Applier
from everloop.cluster.cache import Cache
from everloop.plans.plan import Child, Mode

Json = dict[str, Any]


def parent(uid: str = "1", **metadata: Any) -> Json:
    meta = {"name": "a", "namespace": "ml", "uid": uid, "resourceVersion": "1", **metadata}
    return {"apiVersion": "everloop.dev/v1alpha1", "kind": "TrainingRun", "metadata": meta}


JOB = Child(
    {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a-2", "namespace": "ml"}},
    Mode.CREATE_ONCE,
)


@dataclass
class FakeClient:
    """The part of cluster.client.Client that creating takes."""

    live: Json | None
    made: list[str] = field(default_factory=list)

    async def get(self, _version: str, kind: str, _namespace: str, _name: str) -> Json | None:
        return self.live if kind == "TrainingRun" else None

    async def create(self, manifest: Mapping[str, Any]) -> Json:
        self.made.append(manifest["metadata"]["name"])
        metadata = {**manifest["metadata"], "uid": "new", "resourceVersion": "2"}
        return {**manifest, "metadata": metadata}


def applier(client: FakeClient) -> Applier:
    return Applier(client, Cache(), lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(None, id="deleted"),
        pytest.param(parent("2"), id="replaced"),
        pytest.param(parent(deletionTimestamp="2026-01-01T00:00:00Z"), id="being-deleted"),
    ],
)
async def test_nothing_is_made_for_a_parent_that_is_gone(live: Json | None) -> None:
    """The cache has it still, and has seen its last Job go."""
    client = FakeClient(live)
    with pytest.raises(errors.Conflict):
        await applier(client).child(parent(), JOB)
    assert client.made == []


async def test_a_parent_that_is_there_gets_its_children() -> None:
    client = FakeClient(parent())
    assert await applier(client).child(parent(), JOB) is None
    assert client.made == ["a-2"]
