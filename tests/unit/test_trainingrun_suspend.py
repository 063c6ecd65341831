"""A TrainingRun that is suspended, and resumed."""

from __future__ import annotations

from typing import Any

from run_plans import (
    FETCHED,
    plan,
    ready,
)
from runs import (
    NOW,
    make_config,
    make_job,
    make_pod,
    make_run,
    running,
    shim_failed,
)

from everloop import contract
from everloop.api.conditions import is_true

Dict = dict[str, Any]


def test_suspended_before_the_start_makes_nothing() -> None:
    run = make_run(suspend=True)
    assert plan(run).children == ()
    result = plan(run, make_config(run))
    assert result.children == ()
    assert is_true(result.status, contract.SUSPENDED)


def test_suspend_and_resume_change_the_job_and_nothing_fails() -> None:
    run = make_run(suspend=True)
    config, job = make_config(run), make_job(run)
    pod = make_pod(job, FETCHED, running(), phase="Running")
    (patch,) = plan(run, config, job, pod).patches
    assert patch.manifest["spec"] == {"suspend": True}
    assert patch.manifest["metadata"]["uid"] == job["metadata"]["uid"]
    stopped = make_job(run, suspend=True)
    leaving = make_pod(stopped, FETCHED, shim_failed(143, "", signal=15))
    leaving["metadata"]["deletionTimestamp"] = NOW
    result = plan(run, config, stopped, leaving)
    assert (result.children, result.patches) == ((), ())
    resumed = make_run()
    (patch,) = plan(resumed, config, stopped, leaving).patches
    assert patch.manifest["spec"] == {"suspend": False}


def test_the_newest_living_pod_counts_after_a_resume() -> None:
    run = make_run()
    job = make_job(run)
    old = make_pod(job, FETCHED, shim_failed(143, "", signal=15))
    old["metadata"].update(name="z", uid="old", deletionTimestamp=NOW)
    new = make_pod(job, running(), phase="Pending")
    result = plan(run, make_config(run), job, old, new)
    assert result.children == ()
    assert ready(result) == ("False", "Running")
