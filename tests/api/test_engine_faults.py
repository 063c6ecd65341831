"""Crashes, missed events, two replicas, an API server that goes away: always the right end.

These tests have an API server of their own, since they stop it.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devcluster.control_plane_only import ControlPlane
from kube import Answered, Json, Kube, dns_label, ref
from operator_process import OperatorProcess, Writes, eventually
from toy import CRD, make_toy


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server to be stopped."""
    audit = tmp_path_factory.mktemp("audit") / "audit.log"
    plane = ControlPlane(f"faults-{os.getpid()}", audit_log=audit)
    plane.start()
    try:
        Kube(plane.kubeconfig).install([CRD])
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="module")
def kube(plane: ControlPlane) -> Kube:
    """Its administrator."""
    return Kube(plane.kubeconfig)


@pytest.fixture
def namespace(kube: Kube, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, which can be used at once."""
    name = dns_label(request.node.name)

    def made() -> bool:
        try:
            kube.namespace(name)
        except Answered as answered:
            if answered.status != 409:
                raise
        account = ref("v1", "ServiceAccount", name, "default")
        return kube.get(account) is not None

    eventually(made, 30, "no namespace")
    return name


def config(toy: Json) -> Json:
    return ref("v1", "ConfigMap", toy["metadata"]["namespace"], toy["metadata"]["name"])


def value(kube: Kube, toy: Json) -> str | None:
    """The value in the Toy's ConfigMap; None while there is none or nobody answers."""
    try:
        live = kube.get(config(toy))
    except (OSError, Answered):
        return None
    return None if live is None else str(live["data"]["value"])


def writes_of(plane: ControlPlane) -> Writes:
    assert plane.audit_log is not None
    return Writes(Path(plane.audit_log))


def test_restart_writes_nothing(
    kube: Kube, plane: ControlPlane, namespace: str, start: Any
) -> None:
    operator = start()
    operator.wait_leading()
    toys = [make_toy(f"toy-{number}", namespace, job=True) for number in range(20)]
    for toy in toys:
        kube.create(toy)
    eventually(lambda: all(value(kube, toy) for toy in toys), 20)
    operator.wait_idle()
    assert operator.stop() == 0
    writes = writes_of(plane)
    operator.start()
    operator.wait_leading()
    operator.wait_idle()
    assert writes.seen() == []


def test_owner_deleted_while_down(
    kube: Kube, plane: ControlPlane, namespace: str, start: Any
) -> None:
    """The garbage collector takes the children; the operator forgets, and makes no new ones."""
    operator = start()
    operator.wait_leading()
    stays, goes = make_toy("stays", namespace), make_toy("goes", namespace)
    for toy in (stays, goes):
        kube.create(toy)
    eventually(lambda: value(kube, stays) and value(kube, goes), 10)
    operator.kill()
    kube.delete(goes)
    kube.merge(stays, {"spec": {"value": "changed"}})
    operator.start()
    operator.wait_leading()
    eventually(lambda: value(kube, stays) == "changed", 5)
    eventually(lambda: kube.get(config(goes)) is None, 20, "not cleaned up")
    operator.wait_idle()
    assert kube.get(config(goes)) is None


def test_killed_at_any_moment(kube: Kube, plane: ControlPlane, namespace: str, start: Any) -> None:
    """SIGKILL while it works, again and again: each object once, and all as planned."""
    toys = [make_toy(f"toy-{number}", namespace, job=True) for number in range(60)]
    writes = writes_of(plane)
    operator = start()
    for number, toy in enumerate(toys):
        kube.create(toy)
        if number % 20 == 10:
            operator.wait_leading()
            operator.kill()
            operator.start()
    operator.wait_leading()
    eventually(lambda: all(value(kube, toy) == "one" for toy in toys), 30)
    operator.wait_idle()
    for toy in toys:
        status = (kube.get(toy) or {})["status"]
        assert status["conditions"][0]["status"] == "True"
        assert "lost" not in status
        assert kube.get(ref("batch/v1", "Job", namespace, toy["metadata"]["name"]))
    made = [
        name for verb, resource, name in writes.seen() if (verb, resource) == ("create", "jobs")
    ]
    assert set(made) >= {toy["metadata"]["name"] for toy in toys}


def test_two_replicas(kube: Kube, plane: ControlPlane, namespace: str, start: Any) -> None:
    """One acts; when it is killed the other does within 15 s; nothing is made twice."""
    first = start(identity="first")
    first.wait_leading()
    second = start(identity="second")
    eventually(lambda: second.get("/readyz")[0] == 200, 60)
    toy = make_toy("one-acts", namespace)
    kube.create(toy)
    eventually(lambda: value(kube, toy), 5)
    assert second.metric("everloop_operator_leader") == 0
    first.wait_idle()

    first.kill()
    killed = time.monotonic()
    late = make_toy("late", namespace, job=True)
    kube.create(late)
    eventually(lambda: value(kube, late), 15, "no failover")
    assert time.monotonic() - killed < 15
    second.wait_idle()
    jobs = kube.list("batch/v1", "jobs", namespace)
    assert [item["metadata"]["name"] for item in jobs] == ["late"]

    # The old one comes back, and stands by.
    first.start()
    eventually(lambda: first.get("/readyz")[0] == 200, 60)
    assert first.metric("everloop_operator_leader") == 0
    assert second.metric("everloop_operator_leader") == 1


def test_a_replica_that_ends_well_hands_over_at_once(
    kube: Kube, plane: ControlPlane, namespace: str, start: Any
) -> None:
    first = start(identity="first")
    first.wait_leading()
    second = start(identity="second")
    eventually(lambda: second.get("/readyz")[0] == 200, 60)
    assert first.stop() == 0
    second.wait_leading(8)  # the Lease itself would last 10 s


def test_lease_taken_by_another_ends_the_process(
    kube: Kube, plane: ControlPlane, namespace: str, start: Any
) -> None:
    operator: OperatorProcess = start()
    operator.wait_leading()
    lease = ref("coordination.k8s.io/v1", "Lease", namespace, "everloop-operator")
    kube.merge(lease, {"spec": {"holderIdentity": "another"}})
    assert operator.wait_exit(10) == 1


def test_api_server_restarted(kube: Kube, plane: ControlPlane, namespace: str, start: Any) -> None:
    """Every watch breaks; what happens afterwards is seen, and the operator lives on."""
    operator = start(lease_seconds=60)
    operator.wait_leading()
    toy = make_toy("before", namespace)
    kube.create(toy)
    eventually(lambda: value(kube, toy), 10)
    plane.restart_apiserver()
    kube.merge(toy, {"spec": {"value": "after"}})
    eventually(lambda: value(kube, toy) == "after", 20, "the watch did not come back")
    kube.delete(config(toy))
    eventually(lambda: value(kube, toy) == "after", 20, "the child did not come back")
    assert operator.exit_code() is None
    assert operator.get("/healthz")[0] == 200


def test_gone_with_missed_deletes(
    kube: Kube, plane: ControlPlane, namespace: str, start: Any
) -> None:
    """410 after a compaction, with deletions that no watch ever tells: the lists find them."""
    operator = start(lease_seconds=60)
    operator.wait_leading()
    toys = [make_toy(f"toy-{number}", namespace, job=True) for number in range(3)]
    for toy in toys:
        kube.create(toy)
    eventually(lambda: all(value(kube, toy) for toy in toys), 10)
    operator.wait_idle()

    # Blind: stopped in the middle of everything, its connections die with the API server.
    operator.pause()
    kube.delete(config(toys[0]))
    kube.delete(ref("batch/v1", "Job", namespace, "toy-1"))
    kube.delete(toys[2])
    eventually(lambda: kube.get(config(toys[2])) is None, 20, "not collected")
    for number in range(5):
        kube.merge(toys[1], {"spec": {"value": f"value-{number}"}})
    compact(plane)
    plane.restart_apiserver()
    operator.resume()

    eventually(lambda: value(kube, toys[0]) == "one", 20, "the missed deletion was not found")
    eventually(lambda: value(kube, toys[1]) == "value-4", 20)
    eventually(lambda: (kube.get(toys[1]) or {})["status"].get("lost"), 20, "no lost Job")
    operator.wait_idle()
    assert kube.get(config(toys[2])) is None
    assert operator.exit_code() is None


def compact(plane: ControlPlane) -> None:
    """Drop etcd's history: a watch from before is answered with 410."""
    status = _etcd(plane, "maintenance/status", {})
    _etcd(plane, "kv/compaction", {"revision": status["header"]["revision"], "physical": True})


def _etcd(plane: ControlPlane, call: str, body: Json) -> Json:
    request = urllib.request.Request(
        f"{plane.etcd}/v3/{call}", data=json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: Json = json.loads(answer.read())
    return found
