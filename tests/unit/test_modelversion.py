"""What a ModelVersion says of itself, and when it may go."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from golden import FakeOutside, FakeReader, tick
from runs import DIGEST, NAMESPACE, NOW, make_version

from everloop import contract
from everloop.api.conditions import find
from everloop.handlers.modelversion import KIND
from everloop.plans.plan import Plan
from everloop.settings import Settings

Dict = dict[str, Any]
PROFILE = {"uri": "s3://models/profile.json", "digest": DIGEST}


def server(version: str, deployment: str = "flights") -> Dict:
    labels = {
        contract.LABEL_COMPONENT: contract.COMPONENT_SERVER,
        contract.LABEL_MODEL_VERSION: version,
        contract.LABEL_DEPLOYMENT: deployment,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{deployment}-v1", "namespace": NAMESPACE, "labels": labels},
    }


def plan(version: Dict, *objects: Dict, unseen: tuple[Dict, ...] = ()) -> Plan:
    outside = FakeOutside(Settings(), FakeReader(unseen))
    return tick(KIND, version, [version, *objects], outside, datetime.fromisoformat(NOW))


def condition(result: Plan, name: str) -> tuple[str, str, str]:
    found = find(result.status, name)
    assert found is not None
    return found["status"], found["reason"], found["message"]


def gate(verdict: str) -> Dict:
    return {"metric": "auc", "kind": "Min", "verdict": verdict, "message": f"it is {verdict}"}


@pytest.mark.parametrize(
    ("verdicts", "status", "reason", "phase"),
    [
        ([], "True", "GatesHold", "Registered"),
        (["Pass", "Skipped"], "True", "GatesHold", "Registered"),
        (["Pass", "Inconclusive"], "False", "Inconclusive", "NotEligible"),
        (["Inconclusive", "Fail"], "False", "GateFailed", "NotEligible"),
    ],
    ids=["no gates", "pass and skipped", "inconclusive", "fail"],
)
def test_eligible(verdicts: list[str], status: str, reason: str, phase: str) -> None:
    version = make_version(1, evaluation={"gates": [gate(verdict) for verdict in verdicts]})
    result = plan(version)
    assert condition(result, contract.ELIGIBLE)[:2] == (status, reason)
    assert condition(result, contract.READY)[:2] == ("True", "Registered")
    assert result.status is not None
    assert result.status["phase"] == phase


def test_monitorable_says_why_not() -> None:
    assert condition(plan(make_version(1, profile=PROFILE)), contract.MONITORABLE)[0] == "True"
    version = make_version(1)
    version["metadata"]["annotations"] = {contract.ANNOTATION_NOT_MONITORABLE: "300 rows only"}
    status, reason, message = condition(plan(version), contract.MONITORABLE)
    assert (status, reason) == ("False", "NoProfile")
    assert message == "drift cannot be measured: 300 rows only"
    assert "spec.profile is absent" in condition(plan(make_version(1)), contract.MONITORABLE)[2]


def test_a_served_version_is_kept_until_nobody_serves_it() -> None:
    version = make_version(1)
    others = [server("flights-v2"), server("flights-v1", "b"), server("flights-v1", "a")]
    served = plan(version, *others)
    assert served.finalizers == (contract.FINALIZER_SERVED,)
    assert served.status is not None
    assert (served.status["servedBy"], served.status["phase"]) == (["a", "b"], "Serving")
    assert served.events == ()
    version["metadata"]["deletionTimestamp"] = NOW
    leaving = plan(version, *others)
    assert leaving.finalizers == (contract.FINALIZER_SERVED,)
    assert condition(leaving, contract.READY)[:2] == ("False", "StillServed")
    assert [event.reason for event in leaving.events] == ["StillServed"]
    version["status"] = leaving.status
    assert plan(version, *others).events == ()
    assert plan(version).finalizers == ()


def test_a_deleted_version_is_kept_by_a_server_that_the_cache_has_not_seen_yet() -> None:
    """As after a restart, from an API server that is behind."""
    version = make_version(1)
    version["metadata"]["deletionTimestamp"] = NOW
    version["status"] = {"servedBy": ["flights"]}
    kept = plan(version, unseen=(server("flights-v1"),))
    assert kept.finalizers == (contract.FINALIZER_SERVED,)
    assert kept.requeue_at is not None, "that it goes may be seen by nobody"
    assert plan(version, unseen=(server("flights-v2"),)).finalizers == ()
    assert plan(version).finalizers == ()


def test_nothing_changes_at_rest() -> None:
    version = make_version(1, profile=PROFILE)
    version["status"] = plan(version).status
    assert plan(version).status == version["status"]
