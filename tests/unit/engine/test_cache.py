"""The cache: whatever the order in which news arrive, the newest is what is known."""

from __future__ import annotations

from typing import Any

from everloop import contract
from everloop.cluster.cache import Cache
from everloop.cluster.index import REGISTERED

Dict = dict[str, Any]


def make(name: str, version: int, uid: str = "", **metadata: Any) -> Dict:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "n",
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            **metadata,
        },
        "data": {"version": str(version)},
    }


def controlled_by(uid: str) -> Dict:
    return {"ownerReferences": [{"uid": uid, "kind": "X", "name": "x", "controller": True}]}


def version(cache: Cache, name: str) -> str | None:
    found = cache.get("ConfigMap", "n", name)
    return None if found is None else found["data"]["version"]


def test_older_news_change_nothing() -> None:
    cache = Cache()
    assert cache.put(make("x", 10)) is not None
    assert cache.put(make("x", 9)) is None
    assert cache.put(make("x", 10)) is None
    assert version(cache, "x") == "10"


def test_it_says_what_is_no_news() -> None:
    cache = Cache()
    assert not cache.knows(make("x", 9))
    cache.put(make("x", 9))
    assert cache.knows(make("x", 9))
    assert cache.knows(make("x", 8))
    assert not cache.knows(make("x", 10))
    assert not cache.knows(make("x", 9, "successor"))
    cache.remove(make("x", 10))
    assert cache.knows(make("x", 11)), "it is gone for good"


def test_what_is_gone_does_not_come_back_by_an_old_answer() -> None:
    cache = Cache()
    cache.put(make("x", 9))
    assert cache.remove(make("x", 10)) is not None
    assert cache.put(make("x", 8)) is None
    assert version(cache, "x") is None


def test_a_successor_of_the_same_name_replaces_and_is_not_removed_by_its_predecessors_end() -> None:
    cache = Cache()
    cache.put(make("x", 9, "first"))
    cache.put(make("x", 12, "second"))
    assert cache.remove(make("x", 11, "first")) is None
    assert cache.put(make("x", 13, "first")) is None
    assert version(cache, "x") == "12"


def test_a_list_prunes_only_what_it_is_newer_than() -> None:
    cache = Cache()
    for name, number in (("kept", 5), ("missed", 6), ("just-made", 21)):
        cache.put(make(name, number))
    stale = cache.stale("ConfigMap", ["n"], {"uid-kept"}, version=20)
    assert [item["metadata"]["name"] for item in stale] == ["missed"]
    assert cache.stale("ConfigMap", ["other"], set(), version=20) == []


def test_indexes_follow() -> None:
    cache = Cache()
    owner = make("owner", 1)
    cache.put(make("x", 2, labels={"a": "1", "b": "2"}, **controlled_by("uid-owner")))
    cache.put(make("y", 3, labels={"a": "1"}))
    assert [item["metadata"]["name"] for item in cache.children("ConfigMap", owner)] == ["x"]
    assert len(cache.list("ConfigMap", "n", {"a": "1"})) == 2
    assert len(cache.list("ConfigMap", "n", {"a": "1", "b": "2"})) == 1
    assert cache.list("ConfigMap", "other", {"a": "1"}) == []
    cache.put(make("x", 4, labels={"b": "2"}))
    assert cache.children("ConfigMap", owner) == []
    assert len(cache.list("ConfigMap", "n", {"a": "1"})) == 1
    cache.remove(make("x", 5))
    assert cache.list("ConfigMap", "n", {"b": "2"}) == []


def test_names_of_kinds() -> None:
    """A bare name is ours; theirs has its group; children need none."""
    cache = Cache()
    cache.serve([f"Deployment.{contract.GROUP}", "Deployment.apps", "Job.batch"])
    ours: Dict = make("d", 1, "ours") | {"apiVersion": contract.API_VERSION, "kind": "Deployment"}
    theirs: Dict = make("d", 2, "theirs", **controlled_by("ours"))
    theirs |= {"apiVersion": "apps/v1", "kind": "Deployment"}
    cache.put(ours)
    cache.put(theirs)
    cache.put(make("j", 3) | {"apiVersion": "batch/v1", "kind": "Job"})

    def uid(kind: str, name: str = "d") -> str:
        found = cache.get(kind, "n", name)
        assert found is not None
        return str(found["metadata"]["uid"])

    assert uid("Deployment") == "ours"
    assert uid("Deployment.apps") == "theirs"
    assert uid("Job", "j") == uid("Job.batch", "j")
    assert [item["metadata"]["uid"] for item in cache.children("Deployment", ours)] == ["theirs"]


def test_what_nobody_reads_is_not_kept() -> None:
    cache = Cache()
    pod = make("p", 1, managedFields=[{"manager": "kubelet", "operation": "Update"}])
    pod |= {"kind": "Pod", "status": {"phase": "Running"}}
    pod["spec"] = {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "env": ["…"]}]}
    cache.put(pod)
    found = cache.get("Pod", "n", "p")
    assert found is not None
    assert found["spec"] == {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
    assert found["status"] == {"phase": "Running"}
    assert "managedFields" not in found["metadata"]


def make_version(name: str, number: int, run_uid: str, namespace: str = "n") -> Dict:
    version = make(name, number, f"{namespace}-{name}", namespace=namespace)
    spec = {"modelName": "taxis", "provenance": {"runUid": run_uid}}
    return version | {"apiVersion": contract.API_VERSION, "kind": "ModelVersion", "spec": spec}


def names(found: Any) -> list[str]:
    return [item["metadata"]["name"] for item in found]


def test_versions_are_found_by_model_and_by_their_run() -> None:
    """A copy in another namespace is not the version of a run that is here."""
    cache = Cache()
    cache.put(make_version("taxis-v1", 1, "uid-run"))
    cache.put(make_version("taxis-v1", 2, "uid-run", namespace="production"))
    cache.put(make_version("taxis-v2", 3, "uid-other"))
    assert names(cache.children("ModelVersion", make("run", 9))) == ["taxis-v1"]
    assert names(cache.list("ModelVersion", "n", model="taxis")) == ["taxis-v1", "taxis-v2"]
    assert cache.list("ModelVersion", "n", model="trains") == []
    cache.remove(make_version("taxis-v1", 4, "uid-run"))
    assert cache.children("ModelVersion", make("run", 9)) == []
    assert names(cache.list("ModelVersion", "n", model="taxis")) == ["taxis-v2"]


def test_values_of_an_annotation_follow() -> None:
    cache = Cache()
    key = contract.ANNOTATION_REGISTERED
    cache.put(make("a-report", 1, annotations={key: "taxis-v1"}))
    cache.put(make("b-report", 2, annotations={key: "taxis-v2"}))
    assert cache.values("ConfigMap", "n", key) == ["taxis-v1", "taxis-v2"]
    cache.put(make("a-report", 3, annotations={}))
    cache.remove(make("b-report", 4))
    assert cache.values("ConfigMap", "n", key) == []


def test_what_runs_were_registered_as_follows() -> None:
    cache = Cache()
    run = {"kind": "TrainingRun", "apiVersion": contract.API_VERSION}
    cache.put(make("a", 1) | run | {"status": {"modelVersion": "taxis-v1"}})
    cache.put(make("b", 2) | run | {"status": {"observedGeneration": -1}})
    assert cache.values("TrainingRun", "n", REGISTERED) == ["taxis-v1"]
    cache.put(make("a", 3) | run)
    assert cache.values("TrainingRun", "n", REGISTERED) == []


def test_a_name_is_taken_while_its_object_is_being_created() -> None:
    cache = Cache()
    cache.put(make("x", 1))
    with cache.coming(make("y", 2)):
        assert cache.names("ConfigMap", "n") == ["x", "y"]
        assert cache.names("ConfigMap", "other") == []
    assert cache.names("ConfigMap", "n") == ["x"]
