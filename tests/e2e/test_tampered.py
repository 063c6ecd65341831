"""Bytes that changed behind Everloop's back are neither served nor learnt."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest
from e2e import Kube, Object, condition, is_true, until
from tests.e2e.small_runs import BUCKET, TRAIN, make_run, python

DATA = f"s3://{BUCKET}/data/"


@pytest.fixture(scope="module")
def store(s3: Any, bucket: str) -> Any:
    """The S3 store as a file system, with a small data set in it."""
    s3.pipe_file(f"{bucket}/data/part=1.parquet", _parquet([1.0, 2.0, 3.0]))
    return s3


@pytest.fixture(scope="module")
def version(kube: Kube, namespace: str, store: Any) -> Object:
    """A ModelVersion whose run, data and artifact are what it says."""
    kube.apply(make_run("honest", namespace, python(TRAIN), data=[{"name": "small", "uri": DATA}]))
    return until(
        "honest-v1 is registered",
        lambda: (
            kube.get("mlmv", "honest-v1", namespace)
            if is_true(kube.get("mltr", "honest", namespace), "Complete")
            else None
        ),
        120,
    )


def test_changed_data_fail_a_run_that_pins_them(
    kube: Kube, namespace: str, store: Any, version: Object
) -> None:
    (data,) = version["spec"]["provenance"]["resolved"]["data"]
    assert (data["rows"], data["files"]) == (3, 1)
    pinned = [{"name": "small", "uri": DATA, "digest": data["digest"]}]
    kube.apply(make_run("pinned", namespace, python(TRAIN), data=pinned))
    until(
        "the same data pass",
        lambda: is_true(kube.get("mltr", "pinned", namespace), "Complete"),
        120,
    )
    store.pipe_file(f"{BUCKET}/data/part=1.parquet", _parquet([1.0, 2.0, 4.0]))
    kube.apply(make_run("pinned-again", namespace, python(TRAIN), data=pinned))
    run = until(
        "changed data fail",
        lambda: (
            found
            if is_true(found := kube.get("mltr", "pinned-again", namespace), "Failed")
            else None
        ),
        120,
    )
    assert run["status"]["failure"]["reason"] == "DataChanged", run["status"]
    assert run["status"]["failure"]["step"] == "everloop-fetch"
    assert data["digest"] in condition(run, "Failed")["message"]


def test_changed_artifact_is_not_loaded(
    kube: Kube, namespace: str, store: Any, version: Object
) -> None:
    artifact = version["spec"]["artifact"]
    (path,) = [one for one in store.find(artifact["uri"]) if one.endswith("model.joblib")]
    content = bytearray(store.cat_file(path))
    content[-1] ^= 1
    store.pipe_file(path, bytes(content))
    kube.apply(
        {
            "apiVersion": "everloop.dev/v1alpha1",
            "kind": "Deployment",
            "metadata": {"name": "tampered", "namespace": namespace},
            "spec": {
                "modelName": "honest",
                "versions": [{"modelVersion": "honest-v1", "weight": 100}],
                "runtime": {"pod": {"envFrom": [{"secretRef": {"name": "s3-credentials"}}]}},
            },
        }
    )
    found = until(
        "the condition says what is wrong",
        lambda: (
            item
            if "ArtifactChanged" in str(condition(item := _tampered(kube, namespace), "Ready"))
            else None
        ),
        90,
    )
    assert condition(found, "Ready")["status"] == "False"
    assert artifact["digest"] in condition(found, "Ready")["message"]
    selector = "everloop.dev/deployment=tampered,everloop.dev/component=model-server"
    pods = kube.list("pods", namespace, selector)
    assert pods
    assert not any(is_true(pod, "Ready") for pod in pods)


def _tampered(kube: Kube, namespace: str) -> Object:
    return kube.get("mldep", "tampered", namespace)


def _parquet(values: list[float]) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"x": values}).to_parquet(buffer, index=False)
    return buffer.getvalue()
