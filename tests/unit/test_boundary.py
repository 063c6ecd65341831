"""What a step may not reach of our containers in its pod, in every Job of the golden cases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from built import CASES, case_name, manifests, pod_templates
from pod_checks import all_containers, is_step
from runs import make_run

from everloop import contract
from everloop.api.pod import OUR_MOUNTS, OUR_VOLUMES
from everloop.api.trainingrun import TrainingRun
from everloop.manifests.pod import PYTHON, TMP_DIR
from everloop.manifests.router_config import IN_POD
from everloop.manifests.trainingrun_job import build_job
from everloop.settings import Settings

Json = dict[str, Any]


def _pods() -> Iterator[Any]:
    for file in CASES:
        for name, template in pod_templates(manifests(file)):
            yield pytest.param(name, template["spec"], id=f"{case_name(file)}-{name}")


PODS = list(_pods())
JOBS = [item for item in PODS if item.values[0].startswith("Job/")]


def mounts(container: Json) -> dict[str, Json]:
    """A container's mounts by the name of the volume."""
    return {item["name"]: item for item in container.get("volumeMounts", [])}


def test_there_are_jobs_with_steps() -> None:
    assert any(map(is_step, all_containers(JOBS[0].values[1])))


@pytest.mark.parametrize(("name", "spec"), JOBS)
def test_only_the_last_container_has_the_token(name: str, spec: Json) -> None:
    sources = [item["name"] for item in spec["volumes"] if "projected" in item]
    assert sources == ["token"]
    holders = [item["name"] for item in all_containers(spec) if "token" in mounts(item)]
    assert holders == [contract.CONTAINER_PACKAGE]


@pytest.mark.parametrize(("name", "spec"), JOBS)
def test_steps_write_to_nothing_that_ours_run_or_read_as_home(name: str, spec: Json) -> None:
    """What both write is the workspace alone, which is data to ours."""
    steps = [item for item in all_containers(spec) if is_step(item)]
    ours = [item for item in all_containers(spec) if not is_step(item)]
    for container in steps:
        assert mounts(container)["tools"]["readOnly"] is True
    shared = {name for item in ours for name in mounts(item)} & {
        name for item in steps for name, mount in mounts(item).items() if not mount.get("readOnly")
    }
    assert shared == {"workspace"}
    for container in [*steps, *ours]:
        variables = {item["name"]: item.get("value") for item in container["env"]}
        (tmp,) = [item for item in mounts(container).values() if item["mountPath"] == TMP_DIR]
        assert (variables["HOME"], variables["TMPDIR"]) == (TMP_DIR, TMP_DIR)
        assert tmp["name"] == ("tmp" if is_step(container) else "runner-tmp")


@pytest.mark.parametrize(("name", "spec"), PODS)
def test_our_python_takes_nothing_from_the_working_directory(name: str, spec: Json) -> None:
    for container in all_containers(spec):
        if not is_step(container) and container["command"][0] == "python":
            assert container["command"][: len(PYTHON)] == ["python", "-P", "-m"]


@pytest.mark.parametrize(("name", "spec"), PODS)
def test_every_volume_and_path_of_ours_is_refused_to_users(name: str, spec: Json) -> None:
    """But /tmp, which steps may have elsewhere, and the router's, which has no block of theirs."""
    assert {item["name"] for item in spec["volumes"]} <= set(OUR_VOLUMES)
    for container in all_containers(spec):
        paths = {item["mountPath"] for item in mounts(container).values()}
        assert paths <= {*OUR_MOUNTS, TMP_DIR, IN_POD.folder}


def test_a_tmp_of_the_users_is_the_steps_alone() -> None:
    pod = {
        "volumes": [{"name": "big", "emptyDir": {}}],
        "volumeMounts": [
            {"name": "big", "mountPath": TMP_DIR},
            {"name": "big", "mountPath": "/cache"},
        ],
    }
    run = TrainingRun.model_validate(make_run(pod=pod))
    job = build_job(Settings(), run, 1, compares=False, resolution=None)
    for container in all_containers(job["spec"]["template"]["spec"]):
        at = {item["mountPath"]: item["name"] for item in container["volumeMounts"]}
        assert at["/cache"] == "big", "what is not ours is everywhere: credentials are mounted so"
        assert at[TMP_DIR] == ("big" if is_step(container) else "runner-tmp")
