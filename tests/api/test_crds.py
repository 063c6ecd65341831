"""The CRDs on a real API server: what is refused, with which words; what may never change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from kube import Answered, Kube
from mounts import REFUSED_MOUNTS, TAKEN_MOUNTS, VOLUME

from everloop import contract

Json = dict[str, Any]
DIGEST = "sha256:" + "a" * 64
RUN: Json = {
    "modelName": "m",
    "steps": [{"name": "train", "command": ["train"]}],
    "output": {"uri": "s3://models/m"},
}
EVALUATED: Json = {
    **RUN,
    "steps": [*RUN["steps"], {"name": "score", "role": "Evaluate", "command": ["score"]}],
}
VALID: dict[str, tuple[str, Json]] = {
    "TrainingRun": ("m-1", RUN),
    "Experiment": (
        "search",
        {
            "modelName": "m",
            "objective": {"metric": "auc"},
            "parameters": [{"name": "rate", "logUniform": {"min": "0.01", "max": "0.3"}}],
            "template": RUN,
        },
    ),
    "ModelVersion": (
        "m-v1",
        {"modelName": "m", "version": 1, "artifact": {"uri": "s3://models/m/x", "digest": DIGEST}},
    ),
    "Deployment": (
        "m",
        {"modelName": "m", "rollout": {"steps": [{"weight": 10}, {"analysis": {}}]}},
    ),
    "Monitor": (
        "m",
        {"deployment": "m", "inputs": {}, "retrain": {"signals": ["InputDrift"]}},
    ),
}


def make(kind: str, namespace: str, name: str | None = None, **spec: Any) -> Json:
    """A valid object with some fields of its spec replaced; a value of None removes one."""
    default_name, default_spec = VALID[kind]
    merged = {**copy.deepcopy(default_spec), **spec}
    return {
        "apiVersion": contract.API_VERSION,
        "kind": kind,
        "metadata": {"name": name or default_name, "namespace": namespace},
        "spec": {key: value for key, value in merged.items() if value is not None},
    }


@pytest.mark.parametrize("kind", VALID)
def test_a_valid_object_is_taken_and_has_a_status_at_once(
    kube: Kube, namespace: str, kind: str
) -> None:
    created = kube.create(make(kind, namespace))
    assert created["status"] == {"observedGeneration": -1}


REFUSED: dict[str, tuple[str, Json, str]] = {
    "two sources": (
        "TrainingRun",
        {"source": {"git": {"url": "u"}, "configMapRef": {"name": "c"}}},
        "write exactly one of git and configMapRef",
    ),
    "no steps": ("TrainingRun", {"steps": []}, "should have at least 1 items"),
    "a step without command": ("TrainingRun", {"steps": [{"name": "train"}]}, "command"),
    "two steps of a name": (
        "TrainingRun",
        {"steps": [*RUN["steps"], *RUN["steps"]]},
        "Duplicate value",
    ),
    "an empty gate": ("TrainingRun", {"gates": [{"metric": "auc"}]}, "a gate needs min, max or"),
    "a number that is none": (
        "TrainingRun",
        {"gates": [{"metric": "auc", "min": "high"}]},
        "should match",
    ),
    "a champion without a deployment": (
        "TrainingRun",
        {**EVALUATED, "gates": [{"metric": "auc", "versus": "Champion"}]},
        "versus: Champion needs deployment",
    ),
    "a champion without an evaluation": (
        "TrainingRun",
        {"gates": [{"metric": "auc", "versus": "Champion", "deployment": "m"}]},
        "needs a step with role: Evaluate",
    ),
    "a uri that is none": ("TrainingRun", {"output": {"uri": "models"}}, "should match"),
    "a bad model name": ("TrainingRun", {"modelName": "My_Model"}, "should match"),
    "an unknown algorithm": ("Experiment", {"algorithm": {"name": "Magic"}}, "Unsupported value"),
    "two ranges": (
        "Experiment",
        {
            "parameters": [
                {
                    "name": "x",
                    "categorical": ["a"],
                    "uniform": {"min": "0", "max": "1"},
                }
            ]
        },
        "write exactly one of uniform, logUniform and categorical",
    ),
    "an empty range": (
        "Experiment",
        {"parameters": [{"name": "x", "uniform": {"min": "1", "max": "1"}}]},
        "min must be below max",
    ),
    "a logarithm of zero": (
        "Experiment",
        {"parameters": [{"name": "x", "logUniform": {"min": "0", "max": "1"}}]},
        "max must hold",
    ),
    "another model in the template": (
        "Experiment",
        {"template": {**RUN, "modelName": "other"}},
        "template.modelName must be the Experiment's modelName",
    ),
    "a version that is not in the name": (
        "ModelVersion",
        {"version": 2},
        "the name must be ",
    ),
    "a digest that is none": (
        "ModelVersion",
        {"artifact": {"uri": "s3://a/b", "digest": "sha256:12"}},
        "should match",
    ),
    "weights that miss something": (
        "Deployment",
        {"rollout": None, "versions": [{"modelVersion": "m-v1", "weight": 90}]},
        "weights of versions must sum to 100",
    ),
    "versions and rollout": (
        "Deployment",
        {"versions": [{"modelVersion": "m-v1", "weight": 100}]},
        "write exactly one of versions and rollout",
    ),
    "a step that is two": (
        "Deployment",
        {"rollout": {"steps": [{"weight": 10, "analysis": {}}]}},
        "a step is exactly one of weight, pause and analysis",
    ),
    "a monitor that watches nothing": (
        "Monitor",
        {"inputs": None, "retrain": None},
        "watch at least one of",
    ),
    "a signal that is not watched": (
        "Monitor",
        {"retrain": {"signals": ["ErrorsHigh"]}},
        "retrain on ErrorsHigh needs errors",
    ),
    "a duration that is none": ("Monitor", {"window": "1 day"}, "should match"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_what_to_write(kube: Kube, namespace: str, case: str) -> None:
    kind, spec, words = REFUSED[case]
    with pytest.raises(Answered) as refusal:
        kube.create(make(kind, namespace, **spec))
    assert refusal.value.status == 422
    assert words in str(refusal.value)


def with_mounts(kind: str, namespace: str, *mounts: Json) -> Json:
    """A valid object whose `pod:` block has these mounts."""
    pod = {"volumes": [VOLUME], "volumeMounts": list(mounts)}
    if kind == "Deployment":
        return make(kind, namespace, runtime={"pod": pod})
    return make(kind, namespace, pod=pod)


@pytest.mark.parametrize("kind", ["TrainingRun", "Deployment"])
@pytest.mark.parametrize("case", REFUSED_MOUNTS)
def test_a_mount_of_ours_is_refused(kube: Kube, namespace: str, kind: str, case: str) -> None:
    mount, words = REFUSED_MOUNTS[case]
    with pytest.raises(Answered) as refusal:
        kube.create(with_mounts(kind, namespace, mount))
    assert refusal.value.status == 422
    assert words in str(refusal.value)
    assert "volumeMounts[0]" in str(refusal.value)


@pytest.mark.parametrize("kind", ["TrainingRun", "Deployment"])
def test_other_mounts_are_taken(kube: Kube, namespace: str, kind: str) -> None:
    kube.create(with_mounts(kind, namespace, *TAKEN_MOUNTS))


@pytest.mark.parametrize("kind", VALID)
def test_long_or_odd_names_are_refused(kube: Kube, namespace: str, kind: str) -> None:
    for name in ("a" * 60, "1st", "a.b"):
        with pytest.raises(Answered) as refusal:
            kube.create(make(kind, namespace, name))
        assert "the name must be" in str(refusal.value)


IMMUTABLE: dict[str, tuple[str, Json]] = {
    "a run's parameters": ("TrainingRun", {"parameters": {"rate": "1"}}),
    "a field that was absent": ("TrainingRun", {"source": {"git": {"url": "u"}}}),
    "a run's gates": ("TrainingRun", {"gates": [{"metric": "auc", "min": "0.5"}]}),
    "a search's space": ("Experiment", {"parameters": [{"name": "x", "categorical": ["a"]}]}),
    "an artifact": ("ModelVersion", {"artifact": {"uri": "s3://models/m/y", "digest": DIGEST}}),
    "a deployment's model": ("Deployment", {"modelName": "other"}),
    "a monitor's deployment": ("Monitor", {"deployment": "other"}),
}


@pytest.mark.parametrize("case", IMMUTABLE)
def test_what_is_immutable_cannot_be_added_or_changed(
    kube: Kube, namespace: str, case: str
) -> None:
    kind, change = IMMUTABLE[case]
    made = make(kind, namespace)
    kube.create(made)
    with pytest.raises(Answered) as refusal:
        kube.merge(made, {"spec": change})
    assert f"{next(iter(change))} is immutable" in str(refusal.value)


EXCHANGES: dict[str, tuple[str, str, Any, Any]] = {
    "affinity": ("TrainingRun", "affinity", {"podAffinity": {}}, {"nodeAffinity": {}}),
    "security context": (
        "TrainingRun",
        "securityContext",
        {"runAsUser": 1000},
        {"fsGroup": 1000},
    ),
    "volume": (
        "TrainingRun",
        "volumes",
        [{"name": "a", "emptyDir": {}}],
        [{"name": "a", "hostPath": {"path": "/"}}],
    ),
    "variable": (
        "TrainingRun",
        "env",
        [{"name": "A", "value": "1"}],
        [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    ),
    "mount": (
        "TrainingRun",
        "volumeMounts",
        [{"name": "a", "mountPath": "/a", "subPath": "x"}],
        [{"name": "a", "mountPath": "/a", "readOnly": True}],
    ),
    "toleration": (
        "TrainingRun",
        "tolerations",
        [{"key": "gpu", "operator": "Exists"}],
        [{"key": "gpu", "effect": "NoSchedule"}],
    ),
    "record": ("ModelVersion", "trigger", {"kind": "Person"}, {"by": "Person"}),
}


@pytest.mark.parametrize("case", EXCHANGES)
def test_a_field_that_is_exchanged_for_another_is_a_change(
    kube: Kube, namespace: str, case: str
) -> None:
    """Kubernetes' `==` does not see that of fields which no schema names."""
    kind, field, one, other = EXCHANGES[case]
    inside = "provenance" if kind == "ModelVersion" else "pod"
    created = kube.create(make(kind, namespace, **{inside: {field: one}}))
    assert created["spec"][inside][field] == one
    created["spec"][inside][field] = other
    with pytest.raises(Answered, match=f"{inside} is immutable; make a new object instead"):
        kube.replace(created)


def test_a_null_in_a_security_context_is_kept(kube: Kube, namespace: str) -> None:
    """There it removes a field."""
    pod = {"securityContext": {"fsGroup": None}, "volumes": [{"name": "a", "emptyDir": None}]}
    created = kube.create(make("TrainingRun", namespace, pod=pod))
    assert created["spec"]["pod"] == pod


def test_what_is_immutable_cannot_be_removed(kube: Kube, namespace: str) -> None:
    made = make("TrainingRun", namespace, source={"git": {"url": "u"}})
    kube.create(made)
    with pytest.raises(Answered, match="source is immutable"):
        kube.merge(made, {"spec": {"source": None}})


CHANGEABLE: dict[str, tuple[str, Json]] = {
    "suspending a run": ("TrainingRun", {"suspend": True}),
    "a longer search": ("Experiment", {"trials": 20, "parallelTrials": 4}),
    "a version's card": ("ModelVersion", {"card": {"owner": "somebody"}}),
    "other steps": ("Deployment", {"rollout": {"steps": [{"weight": 100}]}}),
    "another window": ("Monitor", {"window": "7d"}),
}


@pytest.mark.parametrize("case", CHANGEABLE)
def test_what_may_change_does(kube: Kube, namespace: str, case: str) -> None:
    kind, change = CHANGEABLE[case]
    made = make(kind, namespace)
    kube.create(made)
    spec = kube.merge(made, {"spec": change})["spec"]
    for field, value in change.items():
        assert spec[field] == value or spec[field].items() >= value.items()
