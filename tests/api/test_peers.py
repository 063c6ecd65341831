"""Bugs that users of neighbouring projects met, where only a real API server can show them."""

from __future__ import annotations

from pathlib import Path

from devcluster.control_plane_only import ControlPlane
from kube import Json, Kube, ref
from live import jobs, serving
from operator_process import EVERLOOP, Writes, eventually
from samples import make_training_run

SERVER = ("deployments", "flights-v1")  # of its writes, in the audit log


def test_nothing_is_made_in_a_namespace_that_is_going(
    kube: Kube, plane: ControlPlane, namespace: str, start: object
) -> None:
    """kuberay#3388: a clean-up Job in a terminating namespace could never be made.

    The namespace is held by a finalizer on the run; its Job goes, and the run would have retries.
    """
    assert plane.audit_log is not None
    assert callable(start)
    operator = start(command=EVERLOOP)
    operator.wait_leading()
    run = make_training_run("held", namespace, retries=3)
    run["metadata"]["finalizers"] = ["tests.everloop.dev/hold"]
    kube.create(run)
    eventually(lambda: jobs(kube, run), 10, "no Job")
    operator.wait_idle()
    writes = Writes(Path(plane.audit_log))
    space: Json = ref("v1", "Namespace", "", namespace)
    del space["metadata"]["namespace"]
    kube.delete(space)
    eventually(lambda: jobs(kube, run) == [], 30, "the Job stays")
    eventually(lambda: (kube.get(run) or {})["metadata"].get("deletionTimestamp"), 30)
    operator.wait_idle()
    tried = [what for verb, what, _ in writes.seen() if verb == "create" and what != "events"]
    assert len(tried) <= 1, "it goes on trying, which can only be refused"
    kube.merge(run, {"metadata": {"finalizers": None}})
    eventually(lambda: kube.get(space) is None, 60, "the namespace stays")
    assert "the pass failed" not in operator.log.read_text()


def test_a_scale_by_somebody_else_is_put_right_once(
    kube: Kube, plane: ControlPlane, namespace: str, start: object
) -> None:
    """kserve#2269: the operator and its own autoscaler fought over the replicas.

    Ours makes none. One that a user puts on a model server is overruled by `runtime.replicas`: that
    costs one write each time it scales, and the operator does not go on writing between.
    """
    assert plane.audit_log is not None
    assert callable(start)
    operator = start(command=EVERLOOP)
    operator.wait_leading()
    serving(kube, "flights", namespace)
    server = ref("apps/v1", "Deployment", namespace, "flights-v1")
    operator.wait_idle()
    _scale(kube, server, 2)  # what a POST had set becomes applied fields, this once
    for replicas in (3, 5, 3):
        operator.wait_idle()
        writes = Writes(Path(plane.audit_log))
        _scale(kube, server, replicas)
        operator.wait_idle()
        assert [verb for verb, *what in writes.seen() if tuple(what) == SERVER] == ["patch"]


def _scale(kube: Kube, server: Json, replicas: int) -> None:
    """As an autoscaler does it, until that has been put right and nobody works on it any more."""
    kube.merge(server, {"spec": {"replicas": replicas}}, "scale")
    eventually(lambda: (kube.get(server) or {})["spec"]["replicas"] == 1, 10, "not put right")
    eventually(lambda: _settled(kube, server), 20, "the Deployment controller has not followed")


def _settled(kube: Kube, server: Json) -> bool:
    """Its controller has seen the last change; what it wrote wakes the operator once more."""
    live = kube.get(server) or {}
    return bool(live["status"].get("observedGeneration") == live["metadata"]["generation"])
