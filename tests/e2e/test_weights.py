"""A hundred weight changes under a hundred requests a second: none fails, each is there in time."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Iterator

import pytest
from e2e import Kube, Object, is_true, until
from tests.e2e.load import answers, under_load
from tests.e2e.small_runs import TRAIN, make_run, python

logger = logging.getLogger(__name__)
NAME, BUCKET = "weights", "e2e-weights"
CHANGES = 100
MOST_SECONDS = 2.0  # from the patch to the status, which is read back from the router


@pytest.fixture(scope="module")
def two_versions(kube: Kube, namespace: str, bucket: str) -> Iterator[None]:
    """A Deployment that serves two versions, half and half."""
    output = {"uri": f"s3://{bucket}/models", "format": "sklearn"}
    for run in ("weights-a", "weights-b"):
        kube.apply(make_run(run, namespace, python(TRAIN), modelName=NAME, output=output))
    for run in ("weights-a", "weights-b"):
        until(f"{run} ends", lambda name=run: _complete(kube, name, namespace), 180)
    kube.apply(
        {
            "apiVersion": "everloop.dev/v1alpha1",
            "kind": "Deployment",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {
                "modelName": NAME,
                "versions": _versions(50),
                "runtime": {"pod": {"envFrom": [{"secretRef": {"name": "s3-credentials"}}]}},
            },
        }
    )
    until("both versions serve", lambda: _in_force(kube, namespace) == 50, 180)
    yield
    kube.run("delete", "mldep", NAME, "-n", namespace, "--wait=false")


@pytest.fixture
def load(kube: Kube, namespace: str, two_versions: None) -> Iterator[None]:
    """Requests to the address of the Deployment all the while."""
    with under_load(kube, namespace, NAME):
        yield


def test_weights_move_under_load_without_a_failed_request(
    kube: Kube, namespace: str, load: None
) -> None:
    took = []
    for change in range(CHANGES):
        weight = (10, 90, 50, 1, 100, 20)[change % 6]
        patch = json.dumps({"spec": {"versions": _versions(weight)}})
        kube.run("patch", "mldep", NAME, "-n", namespace, "--type=merge", "-p", patch)
        started = time.monotonic()
        until(
            f"weight {weight} is in force",
            lambda wanted=weight: _in_force(kube, namespace) == wanted,
            30,
            every=0.1,
        )
        took.append(time.monotonic() - started)
    seen = answers(kube, namespace)
    median, longest = statistics.median(took), max(took)
    logger.info("median %.2f s, longest %.2f s; answers: %s", median, longest, seen)
    assert set(seen) == {"200"}, seen
    assert seen["200"] > CHANGES
    assert median <= MOST_SECONDS, sorted(took)


def _versions(weight: int) -> list[Object]:
    """Both versions are always listed, so that both always have servers."""
    return [
        {"modelVersion": f"{NAME}-v1", "weight": weight},
        {"modelVersion": f"{NAME}-v2", "weight": 100 - weight},
    ]


def _in_force(kube: Kube, namespace: str) -> int | None:
    """The weight of the first version as the router says; None while it is not serving."""
    item = kube.get("mldep", NAME, namespace)
    shares = item.get("status", {}).get("traffic") or []
    if sum(share["weight"] for share in shares) != 100:
        return None
    return next(
        (share["weight"] for share in shares if share["modelVersion"] == f"{NAME}-v1"), None
    )


def _complete(kube: Kube, run: str, namespace: str) -> bool:
    return is_true(kube.get("mltr", run, namespace), "Complete")
