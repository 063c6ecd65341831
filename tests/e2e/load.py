"""A pod that asks a Deployment's address at a fixed rate, and says what the answers were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from e2e import Kube, Object, until
from tests.e2e.small_runs import python

RATE = 100  # requests a second
POD = "load"
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
        running, due, said, sent = set(), time.monotonic(), 0.0, 0
        while True:
            task = asyncio.create_task(one(session))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
            if time.monotonic() > said + 1:
                said = time.monotonic()
                print(json.dumps({"seconds": said, "sent": sent, "answers": answers}), flush=True)
            due += 1 / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))

asyncio.run(main())
"""


@dataclass(frozen=True)
class Load:
    """What the pod said last, by its own clock: it says so every second."""

    seconds: float = 0.0
    sent: int = 0
    answers: dict[str, int] = field(default_factory=dict)  # by status, or by what went wrong


@contextmanager
def under_load(kube: Kube, namespace: str, name: str) -> Iterator[None]:
    """RATE requests a second to the Deployment `name` until the block ends."""
    servers = f"everloop.dev/deployment={name},everloop.dev/component=model-server"
    image = kube.list("pods", namespace, servers)[0]["spec"]["containers"][0]["image"]
    kube.apply(_pod(namespace, name, image))
    try:
        until("requests are answered", lambda: answers(kube, namespace).get("200", 0) > RATE, 60)
        yield
    finally:
        kube.run("delete", "pod", POD, "-n", namespace, "--grace-period=1")


def load(kube: Kube, namespace: str) -> Load:
    """The load until now."""
    if not kube.get("pod", POD, namespace).get("status", {}).get("startTime"):
        return Load()
    lines = kube.run("logs", POD, "-n", namespace, "--tail=1", "--ignore-errors").splitlines()
    return Load(**json.loads(lines[-1])) if lines and lines[-1].startswith("{") else Load()


def answers(kube: Kube, namespace: str) -> dict[str, int]:
    """Answers so far by status, or by what went wrong."""
    return load(kube, namespace).answers


def _pod(namespace: str, name: str, image: str) -> Object:
    security: dict[str, Any] = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": security,
            "containers": [
                {
                    "name": POD,
                    "image": image,
                    "command": python(LOAD),
                    "env": [
                        {"name": "URL", "value": f"http://{name}/v2/models/{name}/infer"},
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
