"""What a TrainingRun makes before its first attempt, and what keeps it from that."""

from __future__ import annotations

from typing import Any

import pytest
import runs
from run_plans import (
    EVALUATE,
    TRAIN,
    made,
    plan,
    run_config,
)
from runs import (
    CHAMPION,
    VERSUS_GATE,
    make_config,
    make_job,
    make_run,
    make_version,
)

from everloop import contract
from everloop.errors import InvalidSpec

Dict = dict[str, Any]


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
