"""Who has to look again when an object appears, changes or goes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from everloop import contract
from everloop.cluster.cache import Cache
from everloop.handlers.engine_wake import Wakes
from everloop.handlers.kind import Key, Kind, Object, Ref, Resource
from everloop.plans.plan import Plan

Dict = dict[str, Any]


def kind_of(name: str, *refs: str) -> Kind[Any]:
    """A kind that refers to what `spec` says: `modelVersion` by name, `modelName` by model."""

    def references(item: Object) -> Iterable[Ref]:
        namespace, spec = item["metadata"]["namespace"], item["spec"]
        for ref in refs:
            if spec.get("modelVersion"):
                yield Ref(ref, namespace, name=spec["modelVersion"])
            if spec.get("follow"):
                yield Ref(ref, namespace, model=spec["follow"])

    async def observe(item: Object, view: Any, outside: Any) -> Any:
        return item

    def plan(observed: Any, now: datetime) -> Plan:
        return Plan()

    resource = Resource(contract.GROUP, contract.VERSION, f"{name.lower()}s", name)
    return Kind(resource, (), references, observe, plan)


def make(kind: str, name: str, **parts: Any) -> Dict:
    meta = {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": "1"}
    api_version = {"Job": "batch/v1", "Pod": "v1"}.get(kind, contract.API_VERSION)
    made: Dict = {"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": {}}
    made["metadata"] |= parts.pop("metadata", {})
    return made | parts


def owned_by(owner: Dict) -> Dict:
    reference = {key: owner[key] for key in ("apiVersion", "kind")} | {"controller": True}
    meta = owner["metadata"]
    return {"ownerReferences": [reference | {"name": meta["name"], "uid": meta["uid"]}]}


def keys(*named: tuple[str, str]) -> set[Key]:
    return {Key(kind, "n", name) for kind, name in named}


def world() -> tuple[Cache, Wakes]:
    cache = Cache()
    kinds = [kind_of("Deployment", "ModelVersion"), kind_of("TrainingRun"), kind_of("ModelVersion")]
    return cache, Wakes(kinds, cache)


def seen(cache: Cache, wakes: Wakes, item: Dict) -> set[Key]:
    change = cache.put(item)
    assert change is not None
    return wakes.keys(change)


def test_an_object_wakes_itself() -> None:
    cache, wakes = world()
    assert seen(cache, wakes, make("TrainingRun", "r")) == keys(("TrainingRun", "r"))


def test_a_pod_wakes_the_owner_of_its_owner() -> None:
    cache, wakes = world()
    run = make("TrainingRun", "r")
    job = make("Job", "j", metadata=owned_by(run))
    seen(cache, wakes, run)
    assert seen(cache, wakes, job) == keys(("TrainingRun", "r"))
    pod = make("Pod", "p", metadata=owned_by(job))
    assert seen(cache, wakes, pod) == keys(("TrainingRun", "r"))


def test_a_pod_of_a_replica_set_wakes_by_its_label() -> None:
    cache, wakes = world()
    labels = {contract.MANAGED_BY: contract.MANAGED_BY_VALUE, contract.LABEL_DEPLOYMENT: "d"}
    replica_set = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "s", "uid": "u"},
    }
    pod = make("Pod", "p", metadata=owned_by(replica_set) | {"labels": labels})
    assert seen(cache, wakes, pod) == keys(("Deployment", "d"))


def test_a_reference_that_appears_late() -> None:
    cache, wakes = world()
    seen(cache, wakes, make("Deployment", "by-name", spec={"modelVersion": "m-v1"}))
    seen(cache, wakes, make("Deployment", "by-model", spec={"follow": "m"}))
    seen(cache, wakes, make("Deployment", "neither", spec={"modelVersion": "other-v1"}))
    version = make("ModelVersion", "m-v1", spec={"modelName": "m"})
    both = keys(("ModelVersion", "m-v1"), ("Deployment", "by-name"), ("Deployment", "by-model"))
    assert seen(cache, wakes, version) == both
    gone = cache.remove(version)
    assert gone is not None
    assert wakes.keys(gone) == both


def test_a_reference_that_is_given_up_wakes_nobody() -> None:
    cache, wakes = world()
    seen(cache, wakes, make("Deployment", "d", spec={"modelVersion": "m-v1"}))
    changed = make("Deployment", "d", spec={}, metadata={"resourceVersion": "2"})
    seen(cache, wakes, changed)
    version = make("ModelVersion", "m-v1", spec={"modelName": "m"})
    assert seen(cache, wakes, version) == keys(("ModelVersion", "m-v1"))


def test_who_left_a_group_wakes_it_too() -> None:
    """Both sides of a change count: the model an object had, and the one it has."""
    cache, wakes = world()
    seen(cache, wakes, make("Deployment", "old", spec={"follow": "a"}))
    seen(cache, wakes, make("Deployment", "new", spec={"follow": "b"}))
    seen(cache, wakes, make("ModelVersion", "v", spec={"modelName": "a"}))
    moved = make("ModelVersion", "v", spec={"modelName": "b"}, metadata={"resourceVersion": "2"})
    assert seen(cache, wakes, moved) == keys(
        ("ModelVersion", "v"), ("Deployment", "old"), ("Deployment", "new")
    )
