"""What a pass reads when the cache was behind may be first to show what a hand did."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from samples import make_model_version

from everloop import contract
from everloop.handlers.engine import Engine
from everloop.handlers.kind import Key
from everloop.handlers.modelversion import KIND
from everloop.metrics import Metrics
from everloop.settings import Settings

Json = dict[str, Any]


@dataclass
class FakeClient:
    """One object, of which the cache has an older version."""

    live: Json
    restored: list[Json] = field(default_factory=list)
    discovery: Any = field(default_factory=SimpleNamespace)

    async def get(self, *_: Any) -> Json:
        return self.live

    async def patch(self, live: Json, _how: str, body: Json) -> Json:
        self.restored.append(body["metadata"]["labels"])
        meta = {**live["metadata"], **body["metadata"], "resourceVersion": "3"}
        return {**live, "metadata": meta}


def make_version(version: str, labels: dict[str, str]) -> Json:
    made = make_model_version("flights", 1, "ml")
    written = {"manager": contract.FIELD_MANAGER, "operation": "Update"}
    made["metadata"] |= {
        "uid": "version",
        "resourceVersion": version,
        "labels": labels,
        "managedFields": [written],
    }
    return made


async def test_a_label_that_a_conflicting_write_finds_taken_is_put_back() -> None:
    """The event that follows is no news any more: the cache has that version."""
    ours = {contract.MANAGED_BY: contract.MANAGED_BY_VALUE}
    client = FakeClient(make_version("2", {}))
    engine = Engine([KIND], Settings(), client, Metrics(), lambda _: None)  # type: ignore[arg-type]
    engine.view.put(make_version("1", ours))
    engine._leading = True
    await engine._reconciler._refresh(Key("ModelVersion", "ml", "flights-v1"))
    assert client.restored == [ours]
    known = engine.view.get("ModelVersion", "ml", "flights-v1")
    assert known is not None
    assert known["metadata"]["labels"] == ours
