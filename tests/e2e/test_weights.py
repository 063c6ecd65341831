"""A hundred weight changes under a hundred requests a second: none fails, each is there in time."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
from e2e import Kube, Object, is_true, until
from tests.e2e.small_runs import TRAIN, make_run, python

logger = logging.getLogger(__name__)
NAME, BUCKET = "weights", "e2e-weights"
CHANGES, RATE = 100, 100
MOST_SECONDS = 2.0  # from the patch to the status, which is read back from the router
SERVERS = f"everloop.dev/deployment={NAME},everloop.dev/component=model-server"
# Sends at a fixed rate whatever the answers are, and says every second what they were.
LOAD = """
import asyncio, collections, json, os, time
import aiohttp

URL, RATE = os.environ["URL"], float(os.environ["RATE"])
BODY = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [0.5]}]}
answers = collections.Counter()

async def one(session):
    try:
        async with session.post(URL, json=BODY) as response:
            await response.read()
            answers[str(response.status)] += 1
    except (aiohttp.ClientError, TimeoutError) as error:
        answers[type(error).__name__] += 1

async def main():
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        running, due, said = set(), time.monotonic(), 0.0
        while True:
            task = asyncio.create_task(one(session))
            running.add(task)
            task.add_done_callback(running.discard)
            if time.monotonic() > said + 1:
                said = time.monotonic()
                print(json.dumps(answers), flush=True)
            due += 1 / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))

asyncio.run(main())
"""


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
def load(kube: Kube, namespace: str, two_versions: None) -> Iterator[str]:
    """A pod that sends requests to the address of the Deployment; its name."""
    image = kube.list("pods", namespace, SERVERS)[0]["spec"]["containers"][0]["image"]
    kube.apply(_pod("load", namespace, image))
    until("requests are answered", lambda: _answers(kube, namespace).get("200", 0) > RATE, 60)
    yield "load"
    kube.run("delete", "pod", "load", "-n", namespace, "--grace-period=1", "--wait=false")


def test_weights_move_under_load_without_a_failed_request(
    kube: Kube, namespace: str, load: str
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
    answers = _answers(kube, namespace)
    median, longest = statistics.median(took), max(took)
    logger.info("median %.2f s, longest %.2f s; answers: %s", median, longest, answers)
    assert set(answers) == {"200"}, answers
    assert answers["200"] > CHANGES
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


def _answers(kube: Kube, namespace: str) -> dict[str, int]:
    """Answers so far by status, or by what went wrong."""
    if not kube.get("pod", "load", namespace).get("status", {}).get("startTime"):
        return {}
    lines = kube.run("logs", "load", "-n", namespace, "--tail=1", "--ignore-errors").splitlines()
    return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}


def _pod(name: str, namespace: str, image: str) -> Object:
    security: dict[str, Any] = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": security,
            "containers": [
                {
                    "name": "load",
                    "image": image,
                    "command": python(LOAD),
                    "env": [
                        {"name": "URL", "value": f"http://{NAME}/v2/models/{NAME}/infer"},
                        {"name": "RATE", "value": str(RATE)},
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
