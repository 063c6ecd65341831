"""A change, seen by a running operator in every applied child, and taken back: one of each kind.

tests/api/test_fields.py tries all properties, without waiting for an operator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest
from kube import Json, Kube, dns_label
from live import children, condition, jobs, serving, status
from operator_process import OperatorProcess, eventually
from samples import make_experiment, make_model_version, make_monitor, make_training_run

from everloop import contract

Everloop = tuple[OperatorProcess, str]
SERVING = (("apps/v1", "deployments"), ("v1", "services"), ("v1", "configmaps"))
RULES = (("monitoring.coreos.com/v1", "prometheusrules"),)
KINDS_OF_POD_MONITOR = (("monitoring.coreos.com/v1", "podmonitors"),)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name of the test's own."""
    digest = hashlib.sha256(request.node.name.encode()).hexdigest()[:6]
    return f"{dns_label(request.node.name)[:20].strip('-')}-{digest}"


def content(kube: Kube, parent: Json, kinds: tuple[tuple[str, str], ...]) -> str:
    """Spec, data and labels of all children, as text that can be compared."""
    found = {
        f"{plural}/{item['metadata']['name']}": [
            item.get("spec"),
            item.get("data"),
            item["metadata"].get("labels"),
        ]
        for api_version, plural in kinds
        for item in children(kube, parent, api_version, plural)
    }
    assert found, "no children"
    return json.dumps(found, sort_keys=True)


def there_and_back(
    kube: Kube,
    everloop: Everloop,
    parent: Json,
    *,
    change: Json,
    back: Json,
    look: Callable[[], str],
) -> None:
    """Merge a change into the spec and take it back, waiting for what shows."""
    everloop[0].wait_idle()
    before = look()
    kube.merge(parent, {"spec": change})
    eventually(lambda: look() != before, 10, "the change does not show")
    everloop[0].wait_idle()
    kube.merge(parent, {"spec": back})
    eventually(lambda: look() == before, 10, "not restored")
    live = kube.get(parent) or {}
    generation = live["metadata"]["generation"]
    eventually(lambda: status(kube, parent)["observedGeneration"] == generation, 10)


def test_deployment(kube: Kube, everloop: Everloop, model: str) -> None:
    parent = serving(kube, model, everloop[1])
    kinds = (*SERVING, *KINDS_OF_POD_MONITOR)
    there_and_back(
        kube,
        everloop,
        parent,
        change={
            "runtime": {
                "image": "registry/other:1",
                "replicas": 2,
                "pod": {"labels": {"team": "air"}, "nodeSelector": {"disk": "ssd"}},
            }
        },
        back={"runtime": {"image": None, "replicas": 1, "pod": None}},
        look=lambda: content(kube, parent, kinds),
    )


def test_monitor(kube: Kube, everloop: Everloop, model: str) -> None:
    serving(kube, model, everloop[1])
    parent = make_monitor(model, everloop[1], model)
    kube.create(parent)
    eventually(lambda: children(kube, parent, *RULES[0]), 10, "no rules")
    there_and_back(
        kube,
        everloop,
        parent,
        change={"window": "2h", "inputs": {"threshold": "0.3"}, "errors": {"rate": "0.2"}},
        back={"window": "1d", "inputs": None, "errors": {"rate": "0.05"}},
        look=lambda: content(kube, parent, RULES),
    )


def test_training_run(kube: Kube, everloop: Everloop, model: str) -> None:
    parent = make_training_run(model, everloop[1], modelName=model)
    kube.create(parent)
    eventually(lambda: jobs(kube, parent), 10, "no Job")
    there_and_back(
        kube,
        everloop,
        parent,
        change={"suspend": True},
        back={"suspend": False},
        look=lambda: content(kube, parent, (("batch/v1", "jobs"),)),
    )


def test_experiment(kube: Kube, everloop: Everloop, model: str) -> None:
    parent = make_experiment(model, everloop[1], modelName=model)
    kube.create(parent)
    trials = ((contract.API_VERSION, "trainingruns"),)
    eventually(lambda: children(kube, parent, *trials[0]), 10, "no trial")
    there_and_back(
        kube,
        everloop,
        parent,
        change={"suspend": True},
        back={"suspend": False},
        look=lambda: content(kube, parent, trials),
    )


def test_model_version(kube: Kube, everloop: Everloop, model: str) -> None:
    """It has no children; its card is the only part that may change, and its status follows."""
    parent = make_model_version(model, 1, everloop[1])
    kube.create(parent)
    eventually(lambda: status(kube, parent).get("observedGeneration") == 1, 10)
    ready = condition(kube, parent, contract.READY)
    kube.merge(parent, {"spec": {"card": {"owner": "air"}}})
    eventually(lambda: status(kube, parent).get("observedGeneration") == 2, 10)
    kube.merge(parent, {"spec": {"card": None}})
    eventually(lambda: status(kube, parent).get("observedGeneration") == 3, 10)
    after = condition(kube, parent, contract.READY)
    assert {**after, "observedGeneration": 1} == {**ready, "observedGeneration": 1}


def stalled(kube: Kube, parent: Json) -> Json:
    """What Ready says of an object that came to a halt."""
    eventually(lambda: condition(kube, parent, contract.STALLED).get("status") == "True", 10)
    return condition(kube, parent, contract.READY)


def test_what_only_the_server_of_pods_can_check_is_a_condition(
    kube: Kube, everloop: Everloop, model: str
) -> None:
    """The inside of volumes and the like is Kubernetes' own: its refusal is ours to show."""
    wrong = {"volumes": [{"name": "cache", "emptyDir": {"medium": "Nowhere"}, "hostPath": {}}]}
    parent = make_training_run(model, everloop[1], modelName=model, pod=wrong)
    kube.create(parent)
    said = stalled(kube, parent)
    assert said["reason"] == "Invalid"
    assert "volumes" in said["message"]
    assert not jobs(kube, parent)


SLIP = {"affinity": {"nodeAfinity": {}}}


def test_a_slip_in_a_new_pod_is_told(kube: Kube, everloop: Everloop, model: str) -> None:
    """Left to itself Kubernetes drops fields that it does not know, and nobody hears of it."""
    parent = make_training_run(model, everloop[1], modelName=model, pod=SLIP)
    kube.create(parent)
    said = stalled(kube, parent)
    assert said["reason"] == "Invalid"
    assert 'unknown field "spec.template.spec.affinity.nodeAfinity"' in said["message"]
    assert not jobs(kube, parent)


def test_a_slip_in_a_change_is_told_and_what_runs_stays(
    kube: Kube, everloop: Everloop, model: str
) -> None:
    parent = serving(kube, model, everloop[1])
    everloop[0].wait_idle()
    before = content(kube, parent, SERVING)
    ready = condition(kube, parent, contract.READY)
    kube.merge(parent, {"spec": {"runtime": {"pod": SLIP}}})
    said = stalled(kube, parent)
    assert said["reason"] == "Invalid"
    assert ".affinity.nodeAfinity: field not declared in schema" in said["message"]
    assert content(kube, parent, SERVING) == before
    kube.merge(parent, {"spec": {"runtime": {"pod": None}}})
    eventually(lambda: condition(kube, parent, contract.READY)["reason"] == ready["reason"], 10)
    assert condition(kube, parent, contract.STALLED).get("status") != "True"


def test_a_slip_in_a_trial_is_told_by_its_experiment(
    kube: Kube, everloop: Everloop, model: str
) -> None:
    parent = make_experiment(model, everloop[1], modelName=model)
    parent["spec"]["template"]["pod"] = SLIP
    kube.create(parent)
    said = stalled(kube, parent)
    assert said["reason"] == "TrialStalled"
    assert f"trial {model}-0 cannot go on" in said["message"]
    assert 'unknown field "spec.template.spec.affinity.nodeAfinity"' in said["message"]
