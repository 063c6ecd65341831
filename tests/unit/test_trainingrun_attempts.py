"""Every way an attempt can stand: state, step, reason, and what it tells its user."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import runs
from runs import (
    STARTED,
    done,
    job_condition,
    make_job,
    make_pod,
    make_run,
    running,
    shim_failed,
    waiting,
)

from everloop.plans.trainingrun_attempt import (
    Attempt,
    Standing,
    images,
    lingers,
    standing,
    wants_warnings,
)

Dict = dict[str, Any]

RUN = make_run()
FETCHED = done('{"commit": null, "data": {}}')


def stand(job: Dict | None, pod: Dict | None = None, **events: Any) -> Standing:
    return standing(Attempt(1, job, pod, **events))


def event(reason: str, message: str, kind: str = "Warning") -> Dict:
    return {"type": kind, "reason": reason, "message": message}


def with_pod(*states: Dict, job: Dict | None = None, **pod: Any) -> Standing:
    job = job or make_job(RUN)
    return stand(job, make_pod(job, *states, **pod))


FAILURES: dict[str, tuple[Standing, str, str, tuple[str, ...]]] = {
    "exit code": (
        with_pod(FETCHED, shim_failed(1, "Traceback\nKeyError: 'carrier'"), phase="Failed"),
        "train",
        "Error",
        ("step train exited with code 1", "last lines:\nTraceback\nKeyError: 'carrier'"),
    ),
    "container failed before the pod is marked": (
        with_pod(FETCHED, shim_failed(3, "no")),
        "train",
        "Error",
        ("exited with code 3",),
    ),
    "memory, killed with its shim": (
        with_pod(FETCHED, done("epoch 3", 137, "OOMKilled"), phase="Failed"),
        "train",
        "OOMKilled",
        ("step train used more memory than it may", "limits.memory", "epoch 3"),
    ),
    "memory, only the step": (
        with_pod(FETCHED, shim_failed(137, "epoch 3", "OOMKilled", 9), phase="Failed"),
        "train",
        "OOMKilled",
        ("used more memory", "epoch 3"),
    ),
    "killed by a signal": (
        with_pod(FETCHED, shim_failed(139, "", signal=11), phase="Failed"),
        "train",
        "Error",
        ("was killed (exit code 139)",),
    ),
    "command missing in the image": (
        with_pod(FETCHED, shim_failed(127, 'cannot run "pyton"', "CannotRun"), phase="Failed"),
        "train",
        "CannotRun",
        ('cannot run "pyton"',),
    ),
    "data missing": (
        with_pod(shim_failed(1, "data train: there is nothing at s3://x/", "DataMissing")),
        "everloop-fetch",
        "DataMissing",
        ("step everloop-fetch: data train: there is nothing at s3://x/",),
    ),
    "no model written": (
        with_pod(
            FETCHED,
            done(),
            shim_failed(1, "no step wrote output/model/", "NoModel"),
            phase="Failed",
        ),
        "everloop-package",
        "NoModel",
        ("no step wrote output/model/",),
    ),
    "container cannot start": (
        with_pod(FETCHED, done("exec: not found", 128, "StartError"), phase="Failed"),
        "train",
        "StartError",
        ("exec: not found",),
    ),
    "image name is not one": (
        with_pod(FETCHED, waiting("InvalidImageName", "couldn't parse image name ':x'")),
        "train",
        "InvalidImageName",
        ("couldn't parse", "write an image as registry/name:tag"),
    ),
    "evicted": (
        with_pod(FETCHED, running(), phase="Failed", reason="Evicted", message="low on memory"),
        "train",
        "Evicted",
        ("step train: low on memory", "resources.requests"),
    ),
    "pod deleted": (
        stand(make_job(RUN, status=job_condition("Failed", "BackoffLimitExceeded"))),
        "",
        "PodDeleted",
        ("pod was deleted",),
    ),
    "deadline, pod still there": (
        with_pod(
            FETCHED,
            running(),
            job=make_job(
                RUN,
                activeDeadlineSeconds=60,
                status=job_condition("FailureTarget", "DeadlineExceeded"),
            ),
        ),
        "train",
        "DeadlineExceeded",
        ("step train: the attempt took longer than 60 s", "activeDeadlineSeconds"),
    ),
    "job deleted": (stand(None), "", "JobDeleted", ("the attempt's Job was deleted",)),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures(case: str) -> None:
    found, step, reason, texts = FAILURES[case]
    assert (found.state, found.step, found.reason) == ("Failed", step, reason)
    for text in texts:
        assert text in found.message


def test_memory_limit_is_named_where_it_is_known() -> None:
    run = make_run(
        steps=[
            {"name": "train", "command": ["x"], "resources": {"limits": {"memory": "256Mi"}}},
        ]
    )
    job = make_job(run)
    found = stand(job, make_pod(job, FETCHED, done("", 137, "OOMKilled"), phase="Failed"))
    assert "used more memory than its limit of 256Mi" in found.message


def test_a_job_that_is_being_deleted_has_failed_where_it_was() -> None:
    job = make_job(RUN)
    job["metadata"]["deletionTimestamp"] = runs.NOW
    found = stand(job, make_pod(job, FETCHED, running(), phase="Running"))
    assert (found.reason, found.step) == ("JobDeleted", "train")


STARTS: dict[str, tuple[Standing, str, str, str]] = {
    "quota": (
        stand(
            make_job(RUN),
            job_events=[
                event(
                    "FailedCreate",
                    'Error creating: pods "flights-1-1-x" is forbidden: exceeded quota: small',
                )
            ],
        ),
        "",
        "QuotaExceeded",
        "the pod was refused: forbidden: exceeded quota: small",
    ),
    "policy": (
        stand(
            make_job(RUN),
            job_events=[
                event(
                    "FailedCreate",
                    'Error creating: pods "x" is forbidden: violates PodSecurity "restricted"',
                )
            ],
        ),
        "",
        "PodRejected",
        'violates PodSecurity "restricted"',
    ),
    "admission webhook": (
        stand(
            make_job(RUN),
            job_events=[
                event(
                    "FailedCreate", 'Error creating: admission webhook "x" denied the request: no'
                )
            ],
        ),
        "",
        "PodRejected",
        "denied the request: no",
    ),
    "service account": (
        stand(
            make_job(RUN),
            job_events=[
                event("FailedCreate", 'Error creating: pods "x" is forbidden: serviceaccount "y"')
            ],
        ),
        "",
        "FailedCreate",
        'serviceaccount "y"',
    ),
    "image missing": (
        with_pod(
            FETCHED,
            waiting("ErrImagePull", "rpc error: code = NotFound desc = failed to pull: not found"),
        ),
        "train",
        "ImagePullBackOff",
        "step train: failed to pull: not found; push the image",
    ),
    "secret missing": (
        with_pod(waiting("CreateContainerConfigError", 'secret "s" not found')),
        "everloop-fetch",
        "CreateContainerConfigError",
        'secret "s" not found; create the Secret',
    ),
    "volume missing": (
        stand(
            make_job(RUN),
            make_pod(make_job(RUN), waiting("PodInitializing")),
            pod_events=[
                event("Scheduled", "assigned", "Normal"),
                event("FailedMount", 'configmap "code" not found'),
            ],
        ),
        "everloop-fetch",
        "FailedMount",
        'step everloop-fetch: configmap "code" not found',
    ),
    "image missing, seen in events before the container says so": (
        stand(
            make_job(RUN),
            make_pod(make_job(RUN), FETCHED, waiting("PodInitializing")),
            pod_events=[event("Failed", "Error: ErrImagePull"), event("BackOff", "Back-off")],
        ),
        "train",
        "",
        "",
    ),
    "no node": (
        with_pod(
            conditions=[
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/1 nodes are available: insufficient cpu",
                }
            ]
        ),
        "",
        "Unschedulable",
        "insufficient cpu",
    ),
    "on its way": (with_pod(waiting("ContainerCreating")), "everloop-fetch", "", ""),
    "no pod yet": (stand(make_job(RUN)), "", "", ""),
}


@pytest.mark.parametrize("case", STARTS)
def test_starts(case: str) -> None:
    found, step, reason, text = STARTS[case]
    assert (found.state, found.step, found.reason) == ("Starting", step, reason)
    assert text in found.message
    assert found.since is not None


def test_back_off_and_its_cause_read_the_same_so_that_status_does_not_flap() -> None:
    cause = 'failed to pull and unpack image "nope:1": not found'
    first = with_pod(waiting("ErrImagePull", cause))
    later = with_pod(
        waiting("ImagePullBackOff", f'Back-off pulling image "nope:1": ErrImagePull: {cause}')
    )
    assert first == later


def test_a_pod_that_goes_away_is_not_judged_and_has_no_start_deadline() -> None:
    job = make_job(RUN)
    pod = make_pod(job, FETCHED, shim_failed(143, ""))
    pod["metadata"]["deletionTimestamp"] = runs.NOW
    assert stand(job, pod) == Standing("Starting")
    assert stand(make_job(RUN, status={"active": 1})) == Standing("Starting")


def test_running_names_the_step() -> None:
    assert with_pod(running()).step == "everloop-fetch"
    found = with_pod(FETCHED, running(), phase="Running")
    assert (found.state, found.step, found.reason) == ("Running", "train", "Running")


def test_a_later_container_waits_since_the_one_before_ended() -> None:
    found = with_pod(FETCHED, waiting("ErrImagePull", "x"))
    assert found.since is not None
    assert found.since.isoformat() == "2026-01-01T11:59:30+00:00"


def test_suspended_and_succeeded() -> None:
    assert stand(make_job(RUN, suspend=True)).state == "Suspended"
    complete = make_job(RUN, status=job_condition("Complete"))
    assert stand(complete).state == "Succeeded"


def test_only_a_job_that_waits_has_to_be_ended() -> None:
    job = make_job(RUN)
    assert lingers(Attempt(1, job, make_pod(job, FETCHED, waiting("ErrImagePull"))))
    assert lingers(Attempt(1, job, None))
    assert not lingers(Attempt(1, job, make_pod(job, FETCHED, shim_failed(1, ""))))
    assert not lingers(Attempt(1, make_job(RUN, status=job_condition("Failed", "x")), None))
    assert not lingers(Attempt(1, None, None))


def test_images_are_those_that_have_been_started() -> None:
    job = make_job(RUN)
    found = images(make_pod(job, FETCHED, running()))
    assert found == {
        "everloop-fetch": f"registry/everloop-fetch@{runs.DIGEST}",
        "train": f"registry/train@{runs.DIGEST}",
    }


CREATED_AT = datetime.fromisoformat(STARTED)
PENDING = make_pod(make_job(RUN), waiting("ContainerCreating"))


@pytest.mark.parametrize(
    ("attempt", "seconds", "wanted"),
    [
        (Attempt(1, make_job(RUN)), 0, True),
        (Attempt(1, make_job(RUN, status={"active": 1})), 60, False),
        (Attempt(1, make_job(RUN, status={"startTime": None})), 7, False),
        (Attempt(1, make_job(RUN, status={"startTime": None})), 8, True),
        (Attempt(1, make_job(RUN), PENDING), 2, False),
        (Attempt(1, make_job(RUN), PENDING), 3, True),
        (Attempt(1, make_job(RUN), make_pod(make_job(RUN), waiting("ErrImagePull"))), 60, False),
        (Attempt(1, make_job(RUN), make_pod(make_job(RUN), running())), 60, False),
        (Attempt(1, None), 60, False),
    ],
    ids=[
        "the controller began, and there is no pod",
        "its pod is about to be seen",
        "the controller has not begun",
        "the controller has not begun for long",
        "the pod is new",
        "the pod waits",
        "the pod says why it waits",
        "it runs",
        "its Job was deleted",
    ],
)
def test_warnings_are_read_where_nothing_else_tells(
    attempt: Attempt, seconds: int, wanted: bool
) -> None:
    assert wants_warnings(attempt, CREATED_AT + timedelta(seconds=seconds)) is wanted
