"""What a pass finds when the cache is behind, what it writes, and what wakes it again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from samples import make_model_version
from toy import TOY, make_toy

from everloop import contract, errors
from everloop.handlers.engine import Engine
from everloop.handlers.kind import Key
from everloop.handlers.modelversion import KIND
from everloop.metrics import Metrics
from everloop.plans.plan import Child, Event, Plan
from everloop.settings import Settings

Json = dict[str, Any]


@dataclass
class FakeClient:
    """One object, of which the cache has an older version."""

    live: Json | None
    restored: list[Json] = field(default_factory=list)
    discovery: Any = field(default_factory=SimpleNamespace)

    async def get(self, *_: Any) -> Json | None:
        return self.live

    async def pages(self, *_: Any) -> AsyncIterator[Json]:
        """Nothing has lost its label."""
        for page in ():
            yield page

    async def patch(self, live: Json, _how: str, body: Json, _subresource: str = "") -> Json:
        if self.live is None:
            raise errors.NotFound("it is not there", 404)
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


async def test_a_parent_that_its_status_finds_gone_is_planned_for_no_more() -> None:
    """Its children go with it, and would be made again while the watch has not told."""
    client = FakeClient(None)
    engine = Engine([KIND], Settings(), client, Metrics(), lambda _: None)  # type: ignore[arg-type]
    engine.view.put(make_version("1", {}))
    await engine._reconciler._once(Key("ModelVersion", "ml", "flights-v1"))
    assert engine.view.get("ModelVersion", "ml", "flights-v1") is None
    assert engine.view.put(make_version("1", {})) is None, "an old list does not bring it back"


@dataclass
class GoingNamespace(FakeClient):
    """Nothing can be made any more."""

    tried: list[str] = field(default_factory=list)

    async def create(self, manifest: Json) -> Json:
        self.tried.append(manifest["kind"])
        raise errors.Terminating("namespace ml is being terminated", 403)


def going_toy(uid: str, version: str) -> Json:
    made = make_toy("a", "ml")
    made["metadata"] |= {"uid": uid, "resourceVersion": version, "generation": 1}
    return made


async def test_in_a_namespace_that_is_going_one_creation_is_tried_and_none_is_planned() -> None:
    """kuberay#3388: it could only be refused, for as long as somebody held the namespace."""
    client = GoingNamespace(None)
    engine = Engine([TOY], Settings(), client, Metrics(), lambda _: None)  # type: ignore[arg-type]
    key = Key("Toy", "ml", "a")
    engine.view.put(going_toy("first", "1"))
    for _ in range(3):  # whatever else wakes it: its children go, one by one
        await engine._reconciler._once(key)
        assert client.tried == ["ConfigMap"]
        assert (len(engine.queue), engine.queue.backing_off) == (0, 0)
        assert not engine.queue._timers
    engine.view.put(going_toy("second", "2"))  # the namespace went, and was made again
    await engine._reconciler._once(key)
    assert client.tried == ["ConfigMap", "ConfigMap"]


@dataclass
class Server(FakeClient):
    """Makes what it is asked for, or refuses it; keeps statuses and events."""

    refuses: bool = False
    statuses: list[Json] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    async def create(self, manifest: Json) -> Json:
        if self.refuses:
            raise errors.Forbidden("exceeded quota", 403)
        meta = {**manifest["metadata"], "uid": "made", "resourceVersion": "5"}
        return {**manifest, "metadata": meta}

    async def patch(self, live: Json, _how: str, body: Json, subresource: str = "") -> Json:
        assert subresource == "status"
        self.statuses.append(body["status"])
        meta = {**live["metadata"], "resourceVersion": "6"}
        return {**live, "metadata": meta, "status": body["status"]}


def plan_one(*_: Any) -> Plan:
    """One child, a status that tells of it, and one for while it is not there."""
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a-child"}}
    return Plan(
        children=(Child(made),),
        status={"phase": "Made"},
        unmade={"phase": "Making"},
        events=(Event("Made", "it is made"),),
    )


@pytest.mark.parametrize("refuses", [False, True], ids=["made", "refused"])
async def test_a_status_that_tells_of_a_child_is_written_once_it_is_made(refuses: bool) -> None:
    client = Server(None, refuses=refuses)
    kind = replace(TOY, plan=plan_one)
    engine = Engine([kind], Settings(), client, Metrics(), lambda _: None)  # type: ignore[arg-type]
    engine._recorder.record = lambda _, event: client.events.append(event.reason)  # type: ignore[method-assign]
    engine.view.put(going_toy("first", "1"))
    await engine._reconciler._once(Key("Toy", "ml", "a"))
    (status,) = client.statuses
    assert status["phase"] == ("Making" if refuses else "Made")
    assert client.events == ([] if refuses else ["Made"])
    reasons = [one["reason"] for one in status.get("conditions", ())]
    assert ("Forbidden" in reasons) is refuses


async def test_a_child_apart_that_is_refused_does_not_unsay_what_was_made() -> None:
    """A Monitor's rules were refused, and it told nobody of the run that it had made."""
    client = Server(None, refuses=True)
    apart = replace(plan_one(), children=(replace(plan_one().children[0], apart=True),))
    kind = replace(TOY, plan=lambda *_: apart)
    engine = Engine([kind], Settings(), client, Metrics(), lambda _: None)  # type: ignore[arg-type]
    engine._recorder.record = lambda _, event: client.events.append(event.reason)  # type: ignore[method-assign]
    engine.view.put(going_toy("first", "1"))
    await engine._reconciler._once(Key("Toy", "ml", "a"))
    (status,) = client.statuses
    assert status["phase"] == "Made"
    assert [one["reason"] for one in status["conditions"]] == ["Forbidden", "Forbidden"]
    assert client.events == ["Made"]


@pytest.mark.parametrize("reads", [True, False])
async def test_what_does_not_read_its_own_status_has_no_pass_for_it(reads: bool) -> None:
    """But one that something else asked for meanwhile it has."""
    client = Server(None)
    kind = replace(TOY, plan=lambda *_: Plan(status={"phase": "Here"}), reads_own_status=reads)
    engine = Engine([kind], Settings(), client, Metrics(), lambda _: None)  # type: ignore[arg-type]
    key = Key("Toy", "ml", "a")
    engine._leading = True
    engine.view.put(going_toy("first", "1"))
    await engine.queue.get()
    await engine._reconciler._once(key)
    engine.queue.done(key)
    assert len(engine.queue) == int(reads)
    engine.view.put(going_toy("second", "7"))
    await engine.queue.get()
    engine.wake(key)
    await engine._reconciler._once(key)
    engine.queue.done(key)
    assert len(engine.queue) == 1


async def test_a_standby_queues_nothing_and_begins_with_everything() -> None:
    """Nobody empties its queue: it would grow for ever, and pass for one that is stuck."""
    client = FakeClient(None)
    engine = Engine([KIND], Settings(), client, Metrics(), lambda _: None)  # type: ignore[arg-type]
    key = Key("ModelVersion", "ml", "flights-v1")
    engine.view.serve(["ModelVersion.everloop.dev"])
    engine.view.put(make_version("1", {}))
    engine.wake(key)
    assert len(engine.queue) == 0
    await engine.lead()
    try:
        assert await engine.queue.get() == key
    finally:
        await engine.stop()
    engine.queue.done(key)
