"""How a TrainingRun ends: report, version, gates; and that it stays ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import runs
from run_plans import (
    EVALUATE,
    TRAIN,
    made,
    plan,
    ready,
)
from runs import (
    CHAMPION,
    VERSUS_GATE,
    make_config,
    make_report,
    make_report_map,
    make_run,
    make_version,
)

from everloop import contract
from everloop.api.conditions import find, is_true
from everloop.errors import InvalidSpec
from everloop.manifests.trainingrun import IMAGES_KEY
from everloop.plans.plan import OnConflict

Dict = dict[str, Any]


def test_a_report_becomes_a_version() -> None:
    run = make_run(gates=[{"metric": "auc", "min": "0.6", "direction": "Maximize"}])
    config, report = make_config(run), make_report_map(run)
    first = plan(run, config, report, make_version(3))
    (child,) = first.children
    assert child.manifest["metadata"]["name"] == "flights-v4"
    assert (child.owned, child.on_conflict) == (False, OnConflict.REPLAN)
    assert first.patches == ()
    assert ready(first) == ("True", "Registered"), "what it says once that version is made"
    assert [event.reason for event in first.events] == ["Registered"]
    assert ready(replace(first, status=first.unmade)) == ("False", "Registering")
    version = make_version(4, run_uid=run["metadata"]["uid"])
    second = plan(run, config, report, make_version(3), version)
    assert second.children == ()
    assert second.patches == (), "the version itself shows that it was made"
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


def test_a_version_that_the_cache_has_not_seen_yet_is_not_deleted() -> None:
    run = make_run(status={"modelVersion": "flights-v1"})
    version = make_version(1, run_uid=run["metadata"]["uid"])
    result = plan(run, make_config(run), make_report_map(run), live=[version])
    assert (result.children, result.patches) == ((), ())
    assert ready(result) == ("True", "Registered")
    other = make_version(1, run_uid="uid-of-another")
    (mark,) = plan(run, make_config(run), make_report_map(run), live=[other]).patches
    assert mark.manifest["metadata"]["annotations"][contract.ANNOTATION_REGISTERED] == "flights-v1"


def test_a_deleted_version_stays_deleted_and_its_number_unused() -> None:
    """Status knows of it first, then the report, which outlives every status."""
    run = make_run()
    version = make_version(7, run_uid=run["metadata"]["uid"])
    config, report = make_config(run), make_report_map(run)
    run["status"] = plan(run, config, report, version).status
    noted = plan(run, config, report)
    assert (noted.children, noted.status) == ((), run["status"])
    (patch,) = noted.patches
    assert patch.manifest["kind"] == "ConfigMap"
    assert patch.manifest["metadata"]["uid"] == report["metadata"]["uid"]
    assert patch.manifest["metadata"]["annotations"] == {
        contract.ANNOTATION_REGISTERED: "flights-v7"
    }
    assert number_after(report, run) == "flights-v8", "the report is not annotated yet"
    registered = make_report_map(run, registered="flights-v7")
    del run["status"]
    result = plan(run, config, registered)
    assert (result.children, result.patches) == ((), ())
    assert ready(result) == ("True", "Registered")
    assert number_after(registered, run) == "flights-v8"


def number_after(report: Dict, run: Dict) -> str:
    """The version that the next run makes."""
    following = make_run("flights-2")
    objects = [make_config(following), make_report_map(following), report, run]
    (child,) = plan(following, *objects).children
    return str(child.manifest["metadata"]["name"])


def test_a_version_that_status_does_not_know_yet_is_found() -> None:
    run = make_run()
    version = make_version(7, run_uid=run["metadata"]["uid"])
    result = plan(run, make_config(run), make_report_map(run), version)
    assert (result.children, result.patches) == ((), ())
    assert result.status is not None
    assert result.status["modelVersion"] == "flights-v7"


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


def test_a_config_that_is_not_as_we_wrote_it_ends_in_words() -> None:
    run = make_run()
    config = make_config(run)
    config["data"][contract.RUN_CONFIG_NAME] = "{"
    with pytest.raises(InvalidSpec, match=r"flights-1-config: run\.json is no JSON"):
        plan(run, config, make_report_map(run))
    report = make_report_map(run)
    report["data"][IMAGES_KEY] = "{"
    assert made(plan(run, make_config(run), report)) == ["ModelVersion flights-v1"]


def test_nothing_changes_at_rest() -> None:
    run = make_run()
    report = make_report_map(run, registered="flights-v1")
    run["status"] = plan(run, report).status
    later = plan(run, report, now="2026-02-01T00:00:00Z")
    assert later.status == run["status"]
    assert (later.children, later.patches, later.events, later.requeue_at) == ((), (), (), None)
