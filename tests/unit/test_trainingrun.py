"""What a TrainingRun does while its attempts go on, pass by pass."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
import runs
from run_plans import (
    FAILED_STEP,
    FETCHED,
    failed_run,
    made,
    plan,
    ready,
)
from runs import (
    NOW,
    job_condition,
    make_config,
    make_job,
    make_pod,
    make_report_map,
    make_run,
    running,
    waiting,
)

from everloop import contract
from everloop.api.conditions import find, is_true
from everloop.api.report import from_config_map
from everloop.manifests.trainingrun import IMAGES_KEY

Dict = dict[str, Any]


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


@pytest.mark.parametrize("seen", [[], [FETCHED], [FETCHED, running()]])
def test_a_job_that_is_seen_to_fail_before_its_pod_fails_as_the_pod_says(seen: list[Dict]) -> None:
    """Both are watched, apart from each other."""
    run, config, job, pod = failed_run()
    job["status"] = job_condition("Failed", "BackoffLimitExceeded")
    before = [make_pod(job, *seen, phase="Running")] if seen else []
    result = plan(run, config, job, live=[pod], gone=before)
    assert ready(result) == ("False", "Error")
    told = result.children[0].manifest["data"]
    assert "KeyError: 'carrier'" in json.loads(told[contract.REPORT_KEY])["failure"]["message"]
    assert "train" in json.loads(told[IMAGES_KEY])
    again, config, job, pod = failed_run(retries=1)
    job["status"] = job_condition("Failed", "BackoffLimitExceeded")
    (child,) = plan(again, config, job, live=[pod]).children
    noted = child.manifest["metadata"]["annotations"]
    assert contract.ANNOTATION_RESOLUTION in noted, "it trains on what was fetched"


@pytest.mark.parametrize("there", [True, False])
def test_a_run_that_has_reported_is_not_tried_again_because_only_its_end_is_seen(
    there: bool,
) -> None:
    """Its pod was killed once it had reported, and reports are watched apart from Jobs."""
    run, config, job, pod = failed_run(retries=1)
    job["status"] = job_condition("Failed", "BackoffLimitExceeded")
    reported = [make_report_map(run)] if there else []
    result = plan(run, config, job, pod, live=reported)
    jobs = [name for name in made(result) if name.startswith("Job")]
    assert jobs == ([] if there else ["Job flights-1-2"])


def test_an_attempt_that_has_begun_unseen_is_not_late() -> None:
    """A watch may be behind for minutes, and the deadline be shorter."""
    run = make_run(startDeadlineSeconds=60)
    job = make_job(run, status={"active": 1})
    begun = make_pod(job, FETCHED, running(), phase="Running")
    late = "2026-01-01T12:10:00Z"
    result = plan(run, make_config(run), job, live=[begun], gone=[make_pod(job)], now=late)
    assert (result.children, ready(result)) == ((), ("False", "Running"))
    waits = make_pod(job, FETCHED, waiting("ErrImagePull", "nope:1: not found"))
    result = plan(run, make_config(run), job, live=[waits], gone=[make_pod(job)], now=late)
    assert ready(result) == ("False", "ImagePullBackOff")


def test_a_pod_that_was_deleted_is_told_of_with_the_step_it_was_at() -> None:
    run = make_run()
    job = make_job(run, status=job_condition("Failed", "BackoffLimitExceeded"))
    pod = make_pod(job, FETCHED, running(), phase="Running")
    result = plan(run, make_config(run), job, gone=[pod])
    assert ready(result) == ("False", "PodDeleted")
    assert "step train" in str(result.status)


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


def test_a_config_that_the_cache_has_not_seen_yet_is_no_reason_for_another_attempt() -> None:
    """A restarted operator may be shown old lists: it makes the config, and so finds it."""
    run = make_run(retries=0, status={"attempt": 1})
    assert made(plan(run, live=[make_job(run)])) == ["ConfigMap flights-1-config"]


def test_a_completed_job_without_a_report_fails_after_a_while() -> None:
    run = make_run()
    completed = {**job_condition("Complete"), "completionTime": NOW}
    job = make_job(run, status=completed)
    soon = plan(run, make_config(run), job)
    assert (soon.children, soon.requeue_at) == ((), datetime.fromisoformat("2026-01-01T12:01:00Z"))
    late = plan(run, make_config(run), job, now="2026-01-01T12:01:00Z")
    assert ready(late) == ("False", "ReportMissing")
