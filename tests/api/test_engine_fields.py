"""What the engine keeps as it was planned, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from devcluster.control_plane_only import ControlPlane
from kube import Answered, Json, Kube, dns_label, ref
from operator_process import OperatorProcess, Writes, eventually
from toy import LABELS, make_toy

from everloop import contract

Toys = tuple[OperatorProcess, str]


@pytest.fixture
def made(kube: Kube, toys: Toys, request: pytest.FixtureRequest) -> Json:
    """A Toy with a ConfigMap and a Job, at rest."""
    toy = make_toy(dns_label(request.node.name), toys[1], job=True)
    kube.create(toy)
    eventually(lambda: ready(kube, toy) == "True", 10, "the Toy is not ready")
    toys[0].wait_idle()
    return toy


def ready(kube: Kube, toy: Json) -> str | None:
    return condition(kube, toy, "Ready").get("status")


def condition(kube: Kube, toy: Json, kind: str) -> Json:
    live = kube.get(toy) or {}
    found = (item for item in live.get("status", {}).get("conditions", []) if item["type"] == kind)
    return next(found, {})


def config(toy: Json) -> Json:
    return ref("v1", "ConfigMap", toy["metadata"]["namespace"], toy["metadata"]["name"])


def job(toy: Json) -> Json:
    return ref("batch/v1", "Job", toy["metadata"]["namespace"], toy["metadata"]["name"])


HANDS: dict[str, Json] = {
    "value-changed": {"data": {"value": "by hand"}},
    "value-removed": {"data": {"value": None}},
    "label-removed": {"metadata": {"labels": {contract.MANAGED_BY: None}}},
    "annotation-changed": {"metadata": {"annotations": {"purpose": "other"}}},
    "owner-removed": {"metadata": {"ownerReferences": None}},
    "mark-removed": {"metadata": {"annotations": {contract.ANNOTATION_APPLIED: None}}},
}


@pytest.mark.parametrize("hand", HANDS.values(), ids=HANDS.keys())
def test_hand_edit(kube: Kube, made: Json, hand: Json) -> None:
    before = _ours(kube.get(config(made)))
    foreign = {"data": {"foreign": "stays"}, "metadata": {"labels": {"foreign": "stays"}}}
    kube.merge(config(made), foreign)
    kube.merge(config(made), hand)
    eventually(lambda: _ours(kube.get(config(made))) == before, 2, "not put right")
    live = kube.get(config(made)) or {}
    assert live["data"]["foreign"] == "stays"
    assert live["metadata"]["labels"]["foreign"] == "stays"


def _ours(live: Json | None) -> Any:
    assert live is not None
    meta = live["metadata"]
    annotations = meta.get("annotations", {})
    return (
        meta["uid"],
        live["data"].get("value"),
        meta.get("labels", {}).get(contract.MANAGED_BY),
        annotations.get("purpose"),
        annotations.get(contract.ANNOTATION_APPLIED),
        meta.get("ownerReferences"),
    )


def test_field_that_is_no_longer_planned(kube: Kube, toys: Toys, made: Json) -> None:
    """Removed both times: from what a POST made, and from what an apply made."""
    for value in ("two", "three"):
        kube.merge(made, {"spec": {"extra": "x", "value": value}})
        wanted = {"value": value, "extra": "x"}
        eventually(lambda wanted=wanted: _data(kube, made) == wanted, 5)
        kube.merge(made, {"spec": {"extra": None}})
        eventually(lambda value=value: _data(kube, made) == {"value": value}, 5)


def test_field_of_a_post_that_is_no_longer_planned(kube: Kube, toys: Toys) -> None:
    toy = make_toy("extra-from-the-start", toys[1], extra="x")
    kube.create(toy)
    eventually(lambda: _data(kube, toy) == {"value": "one", "extra": "x"}, 5)
    kube.merge(toy, {"spec": {"extra": None}})
    eventually(lambda: _data(kube, toy) == {"value": "one"}, 5)


def _data(kube: Kube, toy: Json) -> Json | None:
    live = kube.get(config(toy))
    return None if live is None else dict(live["data"])


def test_deleted_child_comes_back(kube: Kube, made: Json) -> None:
    before = kube.get(config(made)) or {}
    kube.delete(config(made))

    def back() -> bool:
        live = kube.get(config(made))
        return live is not None and live["metadata"]["uid"] != before["metadata"]["uid"]

    eventually(back, 2, "the ConfigMap did not come back")


def test_deleted_job_stays_deleted_and_is_noticed(kube: Kube, toys: Toys, made: Json) -> None:
    kube.delete(job(made))
    eventually(lambda: (kube.get(made) or {})["status"].get("lost"), 5, "not noticed")
    toys[0].wait_idle()
    assert kube.get(job(made)) is None


@pytest.mark.parametrize("hand", ["label-removed", "owner-removed"])
def test_job_without_its_mark_is_not_lost(kube: Kube, toys: Toys, made: Json, hand: str) -> None:
    before = (kube.get(job(made)) or {})["metadata"]
    kube.merge(job(made), HANDS[hand])

    def restored() -> bool:
        meta = (kube.get(job(made)) or {})["metadata"]
        kept = meta.get("labels", {}).get(contract.MANAGED_BY) == contract.MANAGED_BY_VALUE
        return kept and meta.get("ownerReferences") == before["ownerReferences"]

    eventually(restored, 2, "not put right")
    toys[0].wait_idle()
    assert "lost" not in (kube.get(made) or {})["status"]


def test_name_conflict(kube: Kube, toys: Toys) -> None:
    """Said, not touched, and over when the other object goes."""
    toy = make_toy("name-conflict", toys[1])
    theirs = config(toy) | {"data": {"value": "theirs"}}
    before = kube.create(theirs)
    kube.create(toy)
    eventually(
        lambda: condition(kube, toy, "Ready").get("reason") == contract.REASON_NAME_CONFLICT, 5
    )
    assert condition(kube, toy, "Stalled")["status"] == "True"
    assert "is left alone" in condition(kube, toy, "Ready")["message"]
    assert (kube.get(theirs) or {})["metadata"] == before["metadata"]
    kube.delete(theirs)
    eventually(lambda: ready(kube, toy) == "True", 10, "the conflict does not end")
    assert condition(kube, toy, "Stalled") == {}


def test_name_conflict_with_our_label(kube: Kube, toys: Toys) -> None:
    """Also when the other object is in the cache, since a user copied our labels."""
    toy = make_toy("labelled-conflict", toys[1])
    theirs = config(toy) | {"data": {"value": "theirs"}}
    theirs["metadata"]["labels"] = dict(LABELS)
    before = kube.create(theirs)
    kube.create(toy)
    eventually(
        lambda: condition(kube, toy, "Ready").get("reason") == contract.REASON_NAME_CONFLICT, 5
    )
    assert (kube.get(theirs) or {})["metadata"] == before["metadata"]


def test_invalid_spec_is_not_tried_again_until_it_changes(
    kube: Kube, plane: ControlPlane, toys: Toys, made: Json
) -> None:
    kube.merge(made, {"spec": {"value": "impossible"}})
    eventually(lambda: condition(kube, made, "Stalled").get("status") == "True", 5)
    assert condition(kube, made, "Ready")["reason"] == contract.REASON_INVALID_SPEC
    assert "write anything else" in condition(kube, made, "Stalled")["message"]
    live = kube.get(made) or {}
    assert live["status"]["observedGeneration"] == live["metadata"]["generation"]
    kube.merge(made, {"spec": {"value": "possible"}})
    eventually(lambda: ready(kube, made) == "True", 5)
    assert condition(kube, made, "Stalled") == {}


def test_child_that_the_server_refuses(kube: Kube, toys: Toys) -> None:
    """A quota's no is a condition that names the object, and over when the quota goes."""
    toy = make_toy("refused", toys[1])
    quota = ref("v1", "ResourceQuota", toys[1], "no-more")
    kube.create(quota | {"spec": {"hard": {"count/configmaps": "0"}}})
    eventually(lambda: "hard" in (kube.get(quota) or {}).get("status", {}), 10)
    kube.create(toy)
    eventually(lambda: condition(kube, toy, "Ready").get("reason") == "Forbidden", 5)
    assert "exceeded quota" in condition(kube, toy, "Ready")["message"]
    kube.delete(quota)
    eventually(lambda: ready(kube, toy) == "True", 20, "the refusal does not end")


def test_child_that_a_policy_refuses(kube: Kube, toys: Toys) -> None:
    """It says Invalid of what only the policy minds: over when the policy goes."""
    toy = make_toy("minded", toys[1])
    policy, binding = _policy(config(toy)["metadata"])
    for item in (policy, binding):
        kube.create(item)
    path = f"/api/v1/namespaces/{toys[1]}/configmaps?dryRun=All"
    eventually(lambda: _refused(kube, path, config(toy)), 20, "the policy is not in force")
    kube.create(toy)
    eventually(lambda: condition(kube, toy, "Ready").get("reason") == "Forbidden", 5)
    assert "not while we look" in condition(kube, toy, "Ready")["message"]
    assert condition(kube, toy, "Stalled") == {}
    for item in (binding, policy):
        kube.delete(item)
    eventually(lambda: ready(kube, toy) == "True", 30, "the refusal does not end")


def _refused(kube: Kube, path: str, manifest: Json) -> bool:
    try:
        kube.call("POST", path, manifest)
    except Answered as answered:
        return answered.status == 422
    return False


def _policy(meta: Json) -> tuple[Json, Json]:
    """A policy that refuses to have this very ConfigMap created, and its binding."""
    api, name = "admissionregistration.k8s.io/v1", f"{meta['namespace']}-{meta['name']}"
    here = f"object.metadata.namespace == '{meta['namespace']}'"
    this = {"name": "this", "expression": f"{here} && object.metadata.name == '{meta['name']}'"}
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["configmaps"],
    }
    policy = {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [this],
            "validations": [{"expression": "false", "message": "not while we look"}],
        },
    }
    binding = {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    return policy, binding


def test_reference_that_appears_late(kube: Kube, toys: Toys) -> None:
    toy, late = make_toy("waits", toys[1], copy="late"), make_toy("late", toys[1], value="here")
    kube.create(toy)
    eventually(lambda: ready(kube, toy) == "True", 5)
    assert _data(kube, toy) == {"value": "one"}
    kube.create(late)
    eventually(lambda: _data(kube, toy) == {"value": "one", "copied": "here"}, 2)
    kube.merge(late, {"spec": {"value": "changed"}})
    eventually(lambda: _data(kube, toy) == {"value": "one", "copied": "changed"}, 2)
    kube.delete(late)
    eventually(lambda: _data(kube, toy) == {"value": "one"}, 2)


def test_creation_and_change_cost_two_writes_each(
    kube: Kube, plane: ControlPlane, toys: Toys
) -> None:
    assert plane.audit_log is not None
    writes = Writes(Path(plane.audit_log))
    toy = make_toy("cheap", toys[1])
    kube.create(toy)
    eventually(lambda: ready(kube, toy) == "True", 5)
    toys[0].wait_idle()
    seen = [(verb, resource) for verb, resource, name in writes.seen() if name == "cheap"]
    assert seen == [("create", "configmaps"), ("patch", "toys/status")]

    kube.merge(toy, {"spec": {"value": "changed"}})
    eventually(lambda: _data(kube, toy) == {"value": "changed"}, 5)
    toys[0].wait_idle()
    seen = [(verb, resource) for verb, resource, name in writes.seen() if name == "cheap"]
    assert seen[2:] == [("patch", "configmaps"), ("patch", "toys/status")]


def test_events_come_once(kube: Kube, toys: Toys, made: Json) -> None:
    def ours() -> list[Json]:
        return [
            event
            for event in kube.list("v1", "events", toys[1])
            if event["involvedObject"]["name"] == made["metadata"]["name"]
            and event["involvedObject"]["kind"] == "Toy"
        ]

    eventually(lambda: [event["reason"] for event in ours()] == ["Started"], 5)
    assert ours()[0]["count"] == 1


def test_pages_of_the_operator(toys: Toys) -> None:
    operator = toys[0]
    assert operator.get("/healthz") == (200, "ok")
    assert operator.get("/readyz") == (200, "ok")
    assert (operator.metric("everloop_operator_reconcile_seconds_count") or 0) > 0
    assert (operator.metric("everloop_operator_api_requests_total") or 0) > 0
    ages = operator.metric("everloop_operator_watch_age_seconds")
    assert ages is not None
    assert operator.metric("everloop_operator_reconciles_running") is not None
