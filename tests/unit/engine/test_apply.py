"""What is made for a parent depends on whether it is still there, whatever the cache says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from everloop import errors
from everloop.api.conditions import UNSEEN
from everloop.cluster.apply import Applier
from everloop.cluster.cache import Cache
from everloop.plans.plan import Child, Deletion, Mode, OnConflict, Patch

Json = dict[str, Any]


def parent(uid: str = "1", **metadata: Any) -> Json:
    meta = {"name": "a", "namespace": "ml", "uid": uid, "resourceVersion": "1", **metadata}
    return {
        "apiVersion": "everloop.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": meta,
        "status": {"attempt": 1},
    }


def new_parent() -> Json:
    """One that no pass has seen: its status is what the CRD gives by default."""
    return parent() | {"status": dict(UNSEEN)}


JOB = Child(
    {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a-2", "namespace": "ml"}},
    Mode.CREATE_ONCE,
)


@dataclass
class FakeClient:
    """The part of cluster.client.Client that creating takes."""

    live: Json | None
    made: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    left: Json | None = None  # of what was deleted

    async def patch(self, manifest: Mapping[str, Any], _how: str, _body: Json) -> Json:
        """The answer shows that a hand has taken all labels."""
        return {**manifest, "metadata": {**manifest["metadata"], "labels": {}}}

    async def get(self, _version: str, kind: str, _namespace: str, _name: str) -> Json | None:
        return self.live if kind == "TrainingRun" else None

    async def create(self, manifest: Mapping[str, Any]) -> Json:
        self.made.append(manifest["metadata"]["name"])
        metadata = {**manifest["metadata"], "uid": "new", "resourceVersion": "2"}
        return {**manifest, "metadata": metadata}

    async def delete(self, *name: str, **_options: str) -> Json | None:
        self.deleted.append(name[-1])
        return self.left


def applier(
    client: FakeClient, cache: Cache | None = None, seen: list[Any] | None = None
) -> Applier:
    async def note(item: Any) -> None:
        if seen is not None:
            seen.append(item)

    return Applier(client, cache or Cache(), note)  # type: ignore[arg-type]


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
        await applier(client).children(parent(), [JOB])
    assert client.made == []


async def test_a_new_parent_is_not_looked_at() -> None:
    """No child of it could have been seen to go; what it owns would go with it."""
    client = FakeClient(live=None)
    assert await applier(client).children(new_parent(), [JOB]) == []
    assert client.made == ["a-2"]


async def test_what_a_new_parent_does_not_own_is_not_made_without_it() -> None:
    client = FakeClient(live=None)
    with pytest.raises(errors.Conflict):
        await applier(client).children(new_parent(), [replace(JOB, owned=False)])
    assert client.made == []


async def test_a_parent_that_is_there_gets_its_children() -> None:
    client = FakeClient(parent())
    assert await applier(client).children(parent(), [JOB]) == []
    assert client.made == ["a-2"]


@dataclass
class Cluster(FakeClient):
    """Where some names are taken."""

    taken: dict[str, Json] = field(default_factory=dict)

    async def get(self, version: str, kind: str, namespace: str, name: str) -> Json | None:
        return self.taken.get(name) or await super().get(version, kind, namespace, name)

    async def create(self, manifest: Mapping[str, Any]) -> Json:
        if manifest["metadata"]["name"] in self.taken:
            raise errors.AlreadyExists("taken")
        return await super().create(manifest)


CONFIG = Child(
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a-config", "namespace": "ml"}},
    Mode.CREATE_ONCE,
)


def taken(owner: str) -> dict[str, Json]:
    """CONFIG's name, as an object that has this uid's owner."""
    reference = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": owner, "controller": True}
    labels = {"app.kubernetes.io/managed-by": "everloop"}
    meta = {**CONFIG.manifest["metadata"], "uid": "9", "resourceVersion": "3", "labels": labels}
    return {"a-config": {**CONFIG.manifest, "metadata": {**meta, "ownerReferences": [reference]}}}


async def test_a_job_is_not_made_when_what_it_reads_cannot_be() -> None:
    client = Cluster(parent(), taken=taken("somebody"))
    problems = await applier(client).children(parent(), [CONFIG, replace(JOB, after=True)])
    assert [problem.reason for problem in problems] == ["NameConflict"]
    assert client.made == []


async def test_what_is_refused_apart_keeps_nothing_from_being_made() -> None:
    client = Cluster(parent(), taken=taken("somebody"))
    children = [replace(CONFIG, apart=True), replace(JOB, after=True)]
    problems = await applier(client).children(parent(), children)
    assert [(problem.reason, problem.apart) for problem in problems] == [("NameConflict", True)]
    assert len(client.made) == 1


async def test_what_is_there_unknown_to_the_plan_is_planned_with_anew() -> None:
    client = Cluster(parent(), taken=taken("1"))
    with pytest.raises(errors.Replan):
        await applier(client).children(parent(), [CONFIG, replace(JOB, after=True)])
    assert client.made == []


async def test_who_plans_while_a_version_is_being_created_sees_its_number_taken() -> None:
    """Else of many runs of a model that end together, all ask for one and all but one wait."""
    cache, seen = Cache(), []
    version = {
        "apiVersion": "everloop.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": "taxis-v1", "namespace": "ml"},
    }

    class Slow(FakeClient):
        async def create(self, manifest: Mapping[str, Any]) -> Json:
            seen.extend(cache.names("ModelVersion.everloop.dev", "ml"))
            raise errors.Transient("the API server is away")

    child = Child(version, Mode.CREATE_ONCE, owned=False, on_conflict=OnConflict.REPLAN)
    with pytest.raises(errors.Transient):
        await applier(Slow(parent()), cache).children(parent(), [child])
    assert seen == ["taxis-v1"]
    assert cache.names("ModelVersion.everloop.dev", "ml") == []


async def test_what_others_did_to_a_patched_object_is_looked_at() -> None:
    """The answer may be first to show that a hand took our label."""
    seen: list[Json] = []
    version = parent() | {"kind": "ModelVersion"}
    labels = {"stage": "live"}
    cache = Cache()
    cache.serve(["ModelVersion.everloop.dev"])
    cache.put(version)
    wanted = {**version, "metadata": {**version["metadata"], "labels": labels}}
    await applier(FakeClient(None), cache, seen).patch(Patch(wanted))
    assert [item["metadata"]["labels"] for item in seen] == [{}]


@pytest.mark.parametrize("kept", [False, True])
async def test_what_was_deleted_is_not_deleted_again(kept: bool) -> None:
    """The watch may tell of it long after; a finalizer may keep it for a while."""
    meta = {"name": "server", "namespace": "ml", "uid": "7", "resourceVersion": "1"}
    server = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta}
    leaving = meta | {"resourceVersion": "2", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    client, cache = FakeClient(None, left=server | {"metadata": leaving} if kept else None), Cache()
    cache.serve(["Deployment.apps"])
    cache.put(server)
    deleting = applier(client, cache)
    await deleting.delete(Deletion.of(server))
    found = cache.get("Deployment.apps", "ml", "server")
    assert (found is not None) is kept
    if found is not None:  # a plan that asks again
        await deleting.delete(Deletion.of(found))
    cache.put(server)  # old news
    assert cache.get("Deployment.apps", "ml", "server") == found
    assert client.deleted == ["server"]
