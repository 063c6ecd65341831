"""Bugs that users of neighbouring projects met, where only a real API server can show them."""

from __future__ import annotations

from pathlib import Path

from devcluster.control_plane_only import ControlPlane
from kube import Json, Kube, ref
from live import jobs
from operator_process import EVERLOOP, Writes, eventually
from samples import make_training_run


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
