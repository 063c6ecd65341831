"""What differs between a desired and a live object, when the server has had its way with it."""

from __future__ import annotations

from typing import Any

import pytest

from everloop import contract
from everloop.cluster.compare import difference, quantity, surplus

Dict = dict[str, Any]
CONTAINER = 'k:{"name":"main"}'
OWNED: Dict = {
    "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:selector": {},
        "f:containers": {
            CONTAINER: {
                ".": {},
                "f:name": {},
                "f:image": {},
                "f:args": {},
                "f:resources": {".": {}, "f:requests": {".": {}, "f:cpu": {}}},
                "f:ports": {
                    'k:{"containerPort":8080,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
                },
                "f:env": {
                    'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}},
                    'k:{"name":"B"}': {".": {}, "f:name": {}, "f:value": {}},
                },
            }
        },
    },
}


def make_desired() -> Dict:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "labels": {"app": "d"}},
        "spec": {
            "replicas": 1,
            "selector": {"app": "d"},
            "containers": [
                {
                    "name": "main",
                    "image": "i",
                    "args": ["x"],
                    "resources": {"requests": {"cpu": "0.010"}},
                    "ports": [{"containerPort": 8080}],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "volumeMounts": [],
                }
            ],
        },
    }


def make_live() -> Dict:
    """As a server returns it: defaults added, quantities normalised, a foreign sidecar."""
    return {
        "metadata": {
            "name": "d",
            "labels": {"app": "d", "foreign": "x"},
            "managedFields": [{"operation": "Apply", "fieldsV1": OWNED}],
        },
        "spec": {
            "replicas": 1,
            "paused": False,
            "selector": {"app": "d"},
            "containers": [
                {"name": "sidecar", "image": "foreign"},
                {
                    "name": "main",
                    "image": "i",
                    "args": ["x"],
                    "imagePullPolicy": "Always",
                    "resources": {"requests": {"cpu": "10m", "memory": "1Gi"}},
                    "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                    "env": [
                        {"name": "A", "value": "1"},
                        {"name": "F", "value": "foreign"},
                        {"name": "B", "value": "2"},
                    ],
                },
            ],
        },
    }


def main_of(item: Dict) -> Dict:
    found: Dict = item["spec"]["containers"][-1]
    return found


def test_what_the_server_adds_is_no_difference() -> None:
    assert difference(make_desired(), make_live()) is None


def change(path: str, value: Any) -> Any:
    """Set a field of the live main container (None removes it)."""

    def apply(live: Dict) -> None:
        at: Any = main_of(live)
        *parents, last = path.split(".")
        for name in parents:
            at = at[int(name)] if name.isdigit() else at[name]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return apply


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (change("image", "other"), "spec.containers.0.image"),
        (change("image", None), "spec.containers.0.image"),
        (change("args", ["x", "y"]), "spec.containers.0.args"),
        (change("resources.requests.cpu", "11m"), "spec.containers.0.resources.requests.cpu"),
        (change("env", [{"name": "A", "value": "1"}]), "spec.containers.0.env.1"),
        (change("env.0.value", "other"), "spec.containers.0.env.0.value"),
        (
            change("env", [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]),
            "spec.containers.0.env.1",
        ),
        (change("ports.0.containerPort", 9090), "spec.containers.0.ports.0"),
        (change("name", "renamed"), "spec.containers.0"),
    ],
    ids=[
        "changed", "removed", "longer", "quantity", "entry-removed", "entry-changed", "order",
        "port", "key",
    ],
)  # fmt: skip
def test_what_a_hand_changes_is(edit: Any, where: str) -> None:
    live = make_live()
    edit(live)
    assert difference(make_desired(), live) == where


def test_a_field_that_somebody_took_over_is_not_ours_even_with_our_value() -> None:
    live = make_live()
    fields = {"f:metadata": OWNED["f:metadata"], "f:spec": {"f:replicas": {}}}
    live["metadata"]["managedFields"] = [{"operation": "Apply", "fieldsV1": fields}]
    assert difference(make_desired(), live) == "spec.selector"


def test_fields_of_a_post_and_of_an_apply_count_together() -> None:
    live = make_live()
    live["metadata"]["managedFields"] = [
        {"operation": "Update", "fieldsV1": {"f:spec": OWNED["f:spec"]}},
        {"operation": "Apply", "fieldsV1": {"f:metadata": OWNED["f:metadata"]}},
    ]
    assert difference(make_desired(), live) is None


def test_an_object_without_a_field_of_ours_differs() -> None:
    live = make_live()
    del live["metadata"]["managedFields"]
    assert difference(make_desired(), live) == "metadata.managedFields"


def test_surplus_is_what_was_set_and_is_planned_no_more() -> None:
    desired = make_desired()
    assert not surplus(OWNED, desired)
    del main_of(desired)["env"][1]
    assert surplus(OWNED, desired)
    desired = make_desired()
    del desired["metadata"]["labels"]["app"]
    assert surplus(OWNED, desired)


@pytest.mark.parametrize(
    ("text", "same"),
    [("0.010", "10m"), ("1", "1000m"), ("1Gi", "1024Mi"), ("1e3", "1k"), ("0.5", "500m"), (2, "2")],
)
def test_quantities(text: Any, same: str) -> None:
    assert quantity(text) == quantity(same)


def test_quantities_that_differ() -> None:
    assert quantity("1G") != quantity("1Gi")
    assert quantity("by hand") is None


def test_texts_that_look_like_numbers_are_compared_as_texts() -> None:
    desired, live = make_desired(), make_live()
    desired["metadata"]["labels"]["app"] = "1.10"
    live["metadata"]["labels"]["app"] = "1.1"
    assert difference(desired, live) == "metadata.labels.app"


def test_our_mark_is_a_field_like_any_other() -> None:
    desired, live = make_desired(), make_live()
    desired["metadata"]["annotations"] = {contract.ANNOTATION_APPLIED: "uid/new"}
    assert difference(desired, live) == "metadata.annotations"
