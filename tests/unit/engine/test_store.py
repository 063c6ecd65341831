"""The store: what rests is packed, and comes back as it was."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from everloop.cluster.store import Place, Store
from everloop.cluster.trim import trim

Dict = dict[str, Any]
texts = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(texts, below, max_size=4),
    max_leaves=20,
)


def place(number: int) -> Place:
    return ("ConfigMap", f"n{number % 2}", f"x{number}")


def make(number: int, **content: Any) -> Dict:
    meta = {"name": f"x{number}", "uid": f"uid-{number}", "resourceVersion": str(number)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, **content}


@given(st.lists(values, max_size=8))
def test_objects_come_back_as_they_were(contents: list[Any]) -> None:
    store = Store(in_use=2)
    made = [make(number, data=content) for number, content in enumerate(contents)]
    for number, item in enumerate(made):
        store.put(place(number), item)
    for _ in range(2):
        assert [store.get(place(number)) for number in range(len(made))] == made
    assert store.size("ConfigMap") == len(made)


def test_what_is_known_needs_no_unpacking_and_follows_a_put() -> None:
    store = Store(in_use=1)
    for number in range(3):
        store.put(place(number), make(number))
    assert store.known(place(0)) == ("uid-0", 0)
    store.put(place(0), make(7, data={"new": "1"}))
    store.put(place(1), make(1))
    assert store.known(place(0)) == ("uid-7", 7)
    assert (store.get(place(0)) or {})["data"] == {"new": "1"}


def test_what_was_removed_is_gone_also_when_it_was_in_use() -> None:
    store = Store(in_use=1)
    for number in range(4):
        store.put(place(number), make(number))
    for number in (3, 0):
        store.remove(place(number))
        assert store.get(place(number)) is None
        assert store.known(place(number)) is None
    assert sorted(store.names("ConfigMap", "n0")) == ["x2"]
    assert set(store.namespaces("ConfigMap")) == {"n0", "n1"}
    assert store.get(place(9)) is None


def test_many_at_rest_take_little_memory() -> None:
    """Of an object that is like another, the differences are kept."""
    store = Store(in_use=10)
    for number in range(20):
        data = {f"{key}": f"{key}: {number if key % 10 == 0 else key * key}" for key in range(50)}
        store.put(place(number), make(number, data=data))
    entry = store._entry(place(5))
    assert entry is not None
    assert 0 < len(entry.packed) < len(str(store.get(place(5)))) / 8


def test_objects_of_different_components_are_packed_apart() -> None:
    store = Store(in_use=1)
    for number, component in enumerate(("report", "config", "report", "other")):
        item = make(number)
        item["metadata"]["labels"] = {"everloop.dev/component": component}
        store.put(place(number), item)
    likes = [entry.like for number in range(3) if (entry := store._entry(place(number)))]
    assert likes[0] == likes[2] != likes[1]


def test_a_job_keeps_what_can_be_changed_and_the_limits() -> None:
    step = {"name": "train", "image": "x", "env": [{"name": "a"}], "resources": {"limits": {}}}
    job = make(
        1, spec={"suspend": False, "backoffLimit": 0, "template": {"spec": {"containers": [step]}}}
    )
    found = trim(job | {"kind": "Job"})
    containers = [{"name": "train", "resources": {"limits": {}}}]
    assert found["spec"] == {"suspend": False, "template": {"spec": {"containers": containers}}}
    assert trim(found) == found


def test_a_pod_keeps_how_its_containers_stand() -> None:
    state = {"name": "train", "state": {"running": {}}, "started": True, "volumeMounts": []}
    status = {"phase": "Running", "qosClass": "Burstable", "containerStatuses": [state]}
    found = trim(make(1, status=status) | {"kind": "Pod"})
    kept = {"name": "train", "state": {"running": {}}}
    assert found["status"] == {"phase": "Running", "containerStatuses": [kept]}
    assert trim(found) == found
