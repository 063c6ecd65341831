"""What differs between two runs of a scenario by nature is no difference of its end."""

from __future__ import annotations

from typing import Any

import pytest
from faults.normalise import difference, normalise, under_way


def serving(template: str, suffix: str, uid: int) -> dict[str, list[dict[str, Any]]]:
    """A ReplicaSet with a pod, as controllers name them."""
    labels = {"pod-template-hash": template}
    meta = {"creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels}
    owner = f"00000000-0000-0000-0000-{uid:012}"
    replica_set = {
        "kind": "ReplicaSet",
        "metadata": {**meta, "name": f"flights-v2-{template}", "uid": owner},
    }
    pod = {
        "kind": "Pod",
        "metadata": {
            **meta,
            "name": f"flights-v2-{template}-{suffix}",
            "generateName": f"flights-v2-{template}-",
            "uid": f"00000000-0000-0000-0000-{uid + 1:012}",
            "ownerReferences": [{"kind": "ReplicaSet", "uid": owner}],
        },
    }
    return {"replicasets.apps": [replica_set], "pods": [pod]}


@pytest.mark.parametrize("template", ["7d9f8c6b5", "5b47d96f8c", "fb9567"])
def test_a_template_hash_of_any_length_is_no_difference(template: str) -> None:
    wanted = normalise(serving("6c5f4d8b97", "x2vq7", 1), {})
    found = normalise(serving(template, "8cdk4", 7), {})
    assert difference(wanted, found) == ""
    assert list(found) == [
        "replicasets.apps flights-v2-<template>",
        "pods flights-v2-<template>-<random>",
    ]


def test_a_port_is_not_looked_for_in_digests() -> None:
    meta = {"name": "a", "uid": "uid-of-a", "creationTimestamp": "2026-01-01T00:00:00Z"}
    digest = "sha256:" + "0" * 50 + "240161" + "0" * 8
    item = {"kind": "ConfigMap", "metadata": meta, "data": {"d": digest, "u": "https://a:24016/b"}}
    (found,) = normalise({"configmaps": [item]}, {"24016": "<port>"}).values()
    assert found["data"] == {"d": digest, "u": "https://a:<port>/b"}


@pytest.mark.parametrize(("status", "found"), [("True", True), ("False", False)])
def test_one_of_ours_that_is_reconciling_is_under_way(status: str, found: bool) -> None:
    ours = {"status": {"conditions": [{"type": "Reconciling", "status": status}]}}
    assert under_way({"deployments.everloop.dev flights": ours}) is found
    assert not under_way({"deployments.apps flights-v1": ours, "configmaps flights": {}})
