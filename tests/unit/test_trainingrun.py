"""What a TrainingRun does next, pass by pass, through its own `observe`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import runs
from golden import FakeOutside, FakeReader, tick
from runs import (
    CHAMPION,
    NOW,
    VERSUS_GATE,
    done,
    job_condition,
    make_config,
    make_job,
    make_pod,
    make_report,
    make_report_map,
    make_run,
    make_version,
    running,
    shim_failed,
    waiting,
)

from everloop import contract
from everloop.api.conditions import find, is_true
from everloop.api.report import from_config_map
from everloop.errors import InvalidSpec
from everloop.handlers.trainingrun import KIND
from everloop.plans.plan import OnConflict, Plan
from everloop.settings import Settings

Dict = dict[str, Any]

EVALUATE = {"name": "evaluate", "role": "Evaluate", "command": ["python", "evaluate.py"]}
TRAIN = {"name": "train", "command": ["python", "train.py"]}
FETCHED = done('{"commit": "abc", "data": {"train": "sha256:1"}}')
FAILED_STEP = shim_failed(1, "KeyError: 'carrier'")


def plan(
    run: Dict,
    *objects: Dict,
    live: Sequence[Dict] = (),
    events: dict[str, list[Dict]] | None = None,
    now: str = NOW,
) -> Plan:
    reader = FakeReader([run, *objects, *live], events or {})
    settings = Settings(network_policies=False)  # test_network.py is about those
    outside = FakeOutside(settings, reader)
    return tick(KIND, run, [run, *objects], outside, datetime.fromisoformat(now))


def made(result: Plan) -> list[str]:
    return [
        f"{child.manifest['kind']} {child.manifest['metadata']['name']}"
        for child in result.children
    ]


def ready(result: Plan) -> tuple[str, str]:
    found = find(result.status, contract.READY)
    assert found is not None
    return found["status"], found["reason"]


def run_config(result: Plan) -> Dict:
    return dict(json.loads(result.children[0].manifest["data"][contract.RUN_CONFIG_NAME]))


def failed_run(**spec: Any) -> tuple[Dict, Dict, Dict, Dict]:
    run = make_run(**spec)
    job = make_job(run)
    return run, make_config(run), job, make_pod(job, FETCHED, FAILED_STEP, phase="Failed")


# --- before the first attempt -------------------------------------------------------------------


def test_config_comes_first_and_the_job_only_after_it() -> None:
    run = make_run()
    first = plan(run)
    assert made(first) == ["ConfigMap flights-1-config", "Job flights-1-1"]
    config, job = first.children
    assert config.manifest["immutable"] is True
    assert job.after, "not without its config"
    again = plan(run, make_config(run))
    assert made(again) == ["Job flights-1-1"]
    assert again.children[0].manifest == job.manifest
    assert job.manifest["spec"]["backoffLimit"] == 0


def test_a_suspended_run_makes_nothing() -> None:
    assert made(plan(make_run(suspend=True))) == []


def test_status_counts_an_attempt_only_when_its_job_was_seen() -> None:
    run = make_run()
    about_to = plan(run, make_config(run)).status
    assert about_to is not None
    assert about_to["attempt"] == 0
    seen = plan(run, make_config(run), make_job(run)).status
    assert seen is not None
    assert (seen["attempt"], seen["job"]) == (1, "flights-1-1")


def champion_objects(champion: str | None = "flights-v1") -> list[Dict]:
    deployment = {
        "apiVersion": contract.API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": "flights", "namespace": runs.NAMESPACE, "uid": "uid-dep"},
        "spec": {"modelName": "flights"},
        "status": {"champion": champion} if champion else {},
    }
    return [deployment]


def test_the_champion_is_resolved_into_the_config() -> None:
    run = make_run(steps=[TRAIN, EVALUATE], gates=[VERSUS_GATE])
    resolved = {"resolved": {"trainingCutoff": "2013-02-10T00:00:00Z"}}
    version = make_version(1, provenance=resolved)
    config = run_config(plan(run, *champion_objects(), version))
    assert config["champion"]["modelVersion"] == "flights-v1"
    assert config["champion"]["digest"] == version["spec"]["artifact"]["digest"]
    assert config["champion"]["trainingCutoff"] == "2013-02-10T00:00:00Z"
    assert config["versus"] == [{"metric": "auc", "direction": "Maximize"}]


def test_a_champion_that_only_a_live_read_finds_is_found() -> None:
    run = make_run(steps=[TRAIN, EVALUATE], gates=[VERSUS_GATE])
    config = run_config(plan(run, *champion_objects(), live=[make_version(1)]))
    assert config["champion"]["modelVersion"] == "flights-v1"


@pytest.mark.parametrize(
    ("objects", "problem"),
    [
        ([], None),
        (champion_objects(None), None),
        (champion_objects(), "ModelVersion flights-v1, champion of Deployment flights"),
    ],
    ids=["no Deployment", "no champion yet", "its version is gone"],
)
def test_without_a_champion_the_config_says_why(objects: list[Dict], problem: str | None) -> None:
    run = make_run(steps=[TRAIN, EVALUATE], gates=[VERSUS_GATE])
    config = run_config(plan(run, *objects))
    assert config["champion"] is None
    if problem is None:
        assert "championProblem" not in config
    else:
        assert config["championProblem"].startswith(problem)


def test_the_champion_stays_what_the_config_says() -> None:
    run = make_run(steps=[TRAIN, EVALUATE], gates=[VERSUS_GATE])
    later = plan(run, make_config(run, CHAMPION), *champion_objects("flights-v2"))
    names = [
        c["name"] for c in later.children[0].manifest["spec"]["template"]["spec"]["initContainers"]
    ]
    assert names == ["everloop-fetch", "train", "evaluate", "evaluate-champion"]
    assert later.status is not None
    assert later.status["champion"]["modelVersion"] == "flights-v1"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            {"gates": [VERSUS_GATE, {**VERSUS_GATE, "deployment": "other"}], "steps": [EVALUATE]},
            "name one deployment",
        ),
        ({"steps": [{"name": "everloop-package", "command": ["x"]}]}, "rename the step"),
        (
            {"steps": [{"name": "evaluate-champion", "command": ["x"]}, EVALUATE]},
            "rename the step",
        ),
    ],
    ids=["two champions", "name of ours", "name of the second pass"],
)
def test_a_spec_that_cannot_work_says_what_to_write(spec: Dict, text: str) -> None:
    with pytest.raises(InvalidSpec, match=text):
        plan(make_run(**spec))


# --- attempts -----------------------------------------------------------------------------------


def test_a_missing_image_is_told_while_waiting_and_ends_at_the_start_deadline() -> None:
    run = make_run(startDeadlineSeconds=60)
    config, job = make_config(run), make_job(run)
    pod = make_pod(job, FETCHED, waiting("ErrImagePull", "nope:1: not found"))
    early = plan(run, config, job, pod)
    assert ready(early) == ("False", "ImagePullBackOff")
    assert is_true(early.status, contract.RECONCILING)
    assert early.requeue_at is not None
    assert early.requeue_at - datetime.fromisoformat(NOW) <= timedelta(seconds=10)
    late = plan(run, config, job, pod, now="2026-01-01T12:00:31Z")
    assert made(late) == ["ConfigMap flights-1-report"]
    assert late.patches == ()
    report = from_config_map(late.children[0].manifest)
    assert report is not None
    assert report.failure is not None
    assert (report.failure.step, report.failure.reason) == ("train", "ImagePullBackOff")
    assert "did not start within 60 s" in report.failure.message


def test_the_pods_are_ended_only_once_the_failure_is_recorded() -> None:
    run = make_run()
    config, job = make_config(run), make_job(run)
    pod = make_pod(job, FETCHED, waiting("ErrImagePull", "nope:1: not found"))
    late = plan(run, config, job, pod, now="2026-01-01T13:00:00Z")
    recorded = runs.owned(late.children[0].manifest, run)
    after = plan(run, config, job, pod, recorded, now="2026-01-01T13:00:01Z")
    assert [patch.manifest["spec"] for patch in after.patches] == [{"activeDeadlineSeconds": 1}]
    assert is_true(after.status, contract.FAILED)
    ended = make_job(run, activeDeadlineSeconds=1)
    assert plan(run, config, ended, pod, recorded).patches == ()


def test_a_quota_is_read_from_the_jobs_events() -> None:
    run = make_run()
    job = make_job(run)
    refused = {
        "reason": "FailedCreate",
        "message": 'Error creating: pods "x" is forbidden: exceeded quota',
    }
    result = plan(run, make_config(run), job, events={job["metadata"]["uid"]: [refused]})
    assert ready(result) == ("False", "QuotaExceeded")


def test_running_names_the_step_and_asks_for_no_timer() -> None:
    run = make_run()
    job = make_job(run)
    result = plan(run, make_config(run), job, make_pod(job, FETCHED, running(), phase="Running"))
    assert ready(result) == ("False", "Running")
    found = find(result.status, contract.RECONCILING)
    assert found is not None
    assert found["message"] == "step train is running"
    assert result.requeue_at is None


def test_waiting_for_new_data_says_so() -> None:
    run = make_run(newData={"minRows": 5000, "arrivedAfter": "2013-07-01T00:00:00Z"})
    job = make_job(run)
    result = plan(run, make_config(run), job, make_pod(job, running()))
    found = find(result.status, contract.READY)
    assert found is not None
    assert "waits until 5000 rows have arrived that were stored after 2013" in found["message"]


def test_a_failed_step_is_recorded_then_told() -> None:
    run, config, job, pod = failed_run()
    first = plan(run, config, job, pod)
    assert made(first) == ["ConfigMap flights-1-report"]
    assert ready(first) == ("False", "Error")
    assert [event.reason for event in first.events] == ["Error"]
    run["status"] = first.status
    second = plan(run, config, job, pod, runs.owned(first.children[0].manifest, run))
    assert is_true(second.status, contract.FAILED)
    assert is_true(second.status, contract.STALLED)
    assert second.status is not None
    assert second.status["failure"]["step"] == "train"
    assert "KeyError: 'carrier'" in second.status["failure"]["message"]
    assert second.events == ()


def test_a_retry_starts_from_what_the_first_attempt_fetched() -> None:
    run, config, job, pod = failed_run(retries=1)
    result = plan(run, config, job, pod)
    assert made(result) == ["Job flights-1-2"]
    fetch = result.children[0].manifest["spec"]["template"]["spec"]["initContainers"][0]
    given = {item["name"]: item.get("value") for item in fetch["env"]}
    assert given[contract.ENV_RESOLUTION] == '{"commit": "abc", "data": {"train": "sha256:1"}}'
    assert given[contract.ENV_ATTEMPT] == "2"
    assert ready(result) == ("False", "Retrying")


def test_what_was_fetched_outlives_the_pod_where_there_may_be_a_retry() -> None:
    run = make_run(retries=1)
    config, job = make_config(run), make_job(run)
    pod = make_pod(job, FETCHED, running(), phase="Running")
    (patch,) = plan(run, config, job, pod).patches
    noted = patch.manifest["metadata"]["annotations"]
    job["metadata"]["annotations"] = noted
    assert plan(run, config, job, pod).patches == ()
    job["status"] = job_condition("Failed", "BackoffLimitExceeded")
    (child,) = plan(run, config, job).children
    assert child.manifest["metadata"]["annotations"] == noted
    single = make_run()
    assert plan(single, make_config(single), make_job(single), pod).patches == ()


def test_the_last_retry_ends_the_run() -> None:
    run, config, job, pod = failed_run(retries=1)
    second = make_job(run, 2)
    last = make_pod(second, FETCHED, FAILED_STEP, phase="Failed")
    result = plan(run, config, job, pod, second, last)
    assert made(result) == ["ConfigMap flights-1-report"]


def test_a_deleted_job_is_a_failed_attempt() -> None:
    run = make_run(status={"observedGeneration": 1, "attempt": 1})
    result = plan(run, make_config(run))
    assert made(result) == ["ConfigMap flights-1-report"]
    assert ready(result) == ("False", "JobDeleted")
    again = make_run(status={"observedGeneration": 1, "attempt": 1}, retries=1)
    assert made(plan(again, make_config(again))) == ["Job flights-1-2"]


def test_a_job_that_the_cache_has_not_seen_yet_is_not_deleted() -> None:
    run = make_run(status={"observedGeneration": 1, "attempt": 1})
    result = plan(run, make_config(run), live=[make_job(run)])
    assert result.children == ()
    assert ready(result) == ("False", "Starting")


def test_a_completed_job_without_a_report_fails_after_a_while() -> None:
    run = make_run()
    completed = {**job_condition("Complete"), "completionTime": NOW}
    job = make_job(run, status=completed)
    soon = plan(run, make_config(run), job)
    assert (soon.children, soon.requeue_at) == ((), datetime.fromisoformat("2026-01-01T12:01:00Z"))
    late = plan(run, make_config(run), job, now="2026-01-01T12:01:00Z")
    assert ready(late) == ("False", "ReportMissing")


# --- suspend ------------------------------------------------------------------------------------


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


# --- the end ------------------------------------------------------------------------------------


def test_a_report_becomes_a_version_in_two_passes() -> None:
    run = make_run(gates=[{"metric": "auc", "min": "0.6", "direction": "Maximize"}])
    config, report = make_config(run), make_report_map(run)
    first = plan(run, config, report, make_version(3))
    (child,) = first.children
    assert child.manifest["metadata"]["name"] == "flights-v4"
    assert (child.owned, child.on_conflict) == (False, OnConflict.REPLAN)
    assert first.patches == ()
    assert ready(first) == ("False", "Registering")
    version = make_version(4, run_uid=run["metadata"]["uid"])
    second = plan(run, config, report, make_version(3), version)
    assert second.children == ()
    (patch,) = second.patches
    assert patch.manifest["metadata"]["annotations"] == {
        contract.ANNOTATION_REGISTERED: "flights-v4"
    }
    assert ready(second) == ("True", "Registered")
    assert is_true(second.status, contract.COMPLETE)
    assert second.status is not None
    assert second.status["modelVersion"] == "flights-v4"
    assert second.status["metrics"] == {"auc": "0.70"}


def test_the_version_has_what_was_asked_and_what_was_used() -> None:
    run = make_run(parameters={"k": "0.1"})
    (child,) = plan(run, make_config(run), make_report_map(run)).children
    provenance = child.manifest["spec"]["provenance"]
    assert provenance["runSpec"] == run["spec"]
    assert provenance["runUid"] == run["metadata"]["uid"]
    assert provenance["trigger"] == {"kind": "Person"}
    assert provenance["resolved"]["images"] == {"train": f"registry/train@{runs.DIGEST}"}
    assert provenance["resolved"]["data"][0]["digest"] == runs.DIGEST


def test_a_deleted_version_stays_deleted_and_its_number_unused() -> None:
    run = make_run()
    registered = make_report_map(run, registered="flights-v7")
    result = plan(run, make_config(run), registered)
    assert (result.children, result.patches) == ((), ())
    assert ready(result) == ("True", "Registered")
    other = make_run("flights-2")
    (child,) = plan(other, make_config(other), make_report_map(other), registered).children
    assert child.manifest["metadata"]["name"] == "flights-v8"


def test_a_failed_gate_registers_nothing() -> None:
    run = make_run(gates=[{"metric": "auc", "min": "0.8", "direction": "Maximize"}])
    result = plan(run, make_config(run), make_report_map(run))
    assert result.children == ()
    assert ready(result) == ("False", "GateFailed")
    assert is_true(result.status, contract.COMPLETE)
    assert is_true(result.status, contract.STALLED)
    assert result.status is not None
    assert result.status["gates"][0]["verdict"] == "Fail"


def test_an_inconclusive_gate_registers_but_says_so() -> None:
    run = make_run(steps=[TRAIN, EVALUATE], gates=[VERSUS_GATE])
    config, report = make_config(run, CHAMPION), make_report_map(run)
    (child,) = plan(run, config, report).children
    assert child.manifest["spec"]["evaluation"]["gates"][0]["verdict"] == "Inconclusive"
    version = make_version(1, run_uid=run["metadata"]["uid"])
    found = find(plan(run, config, report, version).status, contract.READY)
    assert found is not None
    assert "flights-v1 is registered, not eligible for a rollout" in found["message"]


def test_a_trial_reports_and_leaves_registration_to_its_experiment() -> None:
    run = make_run()
    run["metadata"]["ownerReferences"] = [
        {"kind": "Experiment", "name": "search", "uid": "uid-search", "controller": True}
    ]
    result = plan(run, make_config(run), make_report_map(run))
    assert (result.children, result.patches) == ((), ())
    assert ready(result) == ("True", "Complete")


def test_a_finished_run_is_rebuilt_from_its_report_alone() -> None:
    run = make_run()
    finished = plan(run, make_report_map(run, registered="flights-v1"))
    assert finished.children == ()
    assert is_true(finished.status, contract.COMPLETE)
    failure = {"step": "train", "reason": "Error", "message": "no"}
    failed = make_report(run, outcome="Failed", failure=failure, artifact=None)
    again = plan(run, make_report_map(run, failed))
    assert again.children == ()
    assert is_true(again.status, contract.FAILED)


def test_a_finished_run_does_not_run_again_when_its_report_is_deleted() -> None:
    run = make_run()
    run["status"] = plan(run, make_report_map(run, registered="flights-v1")).status
    result = plan(run)
    assert (result.children, result.status) == ((), None)


def test_a_predecessors_objects_are_not_read_as_its_own() -> None:
    predecessor = make_run()
    predecessor["metadata"]["uid"] = "uid-before"
    run = make_run()
    result = plan(run, make_config(predecessor), make_report_map(predecessor))
    assert made(result) == ["ConfigMap flights-1-config", "Job flights-1-1"]


def test_nothing_changes_at_rest() -> None:
    run = make_run()
    report = make_report_map(run, registered="flights-v1")
    run["status"] = plan(run, report).status
    later = plan(run, report, now="2026-02-01T00:00:00Z")
    assert later.status == run["status"]
    assert (later.children, later.patches, later.events, later.requeue_at) == ((), (), (), None)
