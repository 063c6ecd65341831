"""From a flip to the TrainingRun: errors and absence, `for: 0`, scrapes of a second."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from e2e import Kube, Object, condition, is_true, until
from tests.e2e.small_runs import TRAIN, make_run, python

MOST_SECONDS = 5.0
BUCKET = "e2e-monitor"
SERVERS = "everloop.dev/deployment=watched,everloop.dev/component=model-server"
INPUT: Object = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [0.5]}
REQUEST: Object = {"inputs": [INPUT]}
# A model that cannot score a missing value.
STRICT = TRAIN.replace(
    "from sklearn.dummy import DummyClassifier",
    "from sklearn.linear_model import LogisticRegression",
).replace('DummyClassifier(strategy="prior")', "LogisticRegression()")


class Client:
    """Asks 20 times a second and remembers when it was first refused."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.request = REQUEST
        self.answered = 0
        self.first_failure: float | None = None

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _ask(self) -> None:
        headers = {"Content-Type": "application/json"}
        while not self._stop.wait(0.05):
            body = json.dumps(self.request).encode()
            request = urllib.request.Request(self._url, data=body, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=5):
                    self.answered += 1
            except urllib.error.HTTPError as error:
                if error.code >= 500 and self.first_failure is None:
                    self.first_failure = time.monotonic()
            except OSError:
                continue  # the way to the router, not its answer


@pytest.fixture(scope="module")
def watched(kube: Kube, namespace: str, bucket: str) -> Object:
    """A Deployment that serves."""
    output = {"uri": f"s3://{bucket}/models", "format": "sklearn"}
    kube.apply(make_run("watched", namespace, python(STRICT), output=output))
    until(
        "watched-v1 is registered",
        lambda: is_true(kube.get("mltr", "watched", namespace), "Complete"),
        180,
    )
    kube.apply(
        {
            "apiVersion": "everloop.dev/v1alpha1",
            "kind": "Deployment",
            "metadata": {"name": "watched", "namespace": namespace},
            "spec": {
                "modelName": "watched",
                "versions": [{"modelVersion": "watched-v1", "weight": 100}],
                "runtime": {"pod": {"envFrom": [{"secretRef": {"name": "s3-credentials"}}]}},
            },
        }
    )
    return until("watched serves", lambda: _serving(kube, namespace), 180)


@contextmanager
def what_the_model_cannot_score(_kube: Kube, _namespace: str, load: Client) -> Iterator[None]:
    """A missing value, which a logistic regression refuses: every answer is 500 at once."""
    load.request = {"inputs": [INPUT | {"data": [None]}]}
    yield


@contextmanager
def no_servers(kube: Kube, namespace: str, _load: Client) -> Iterator[None]:
    """They are gone this moment, and no node takes new ones."""
    nodes = [item["metadata"]["name"] for item in kube.list("nodes", "")]
    kube.run("cordon", *nodes)
    try:
        kube.run("delete", "pods", "-n", namespace, "-l", SERVERS, "--grace-period=0", "--force")
        yield
    finally:
        kube.run("uncordon", *nodes)


@dataclass(frozen=True)
class Case:
    """A signal, the Monitor that watches for it, and what makes it fire."""

    signal: str
    spec: dict[str, Any]
    flip: Callable[[Kube, str, Client], AbstractContextManager[None]]


ERRORS = Case(
    "ErrorsHigh", {"errors": {"rate": "0.1"}, "minSamples": 10}, what_the_model_cannot_score
)
ABSENCE = Case("Absent", {"absence": {"for": "0s"}}, no_servers)


@pytest.mark.parametrize("case", [ERRORS, ABSENCE], ids=["errors", "absence"])
def test_a_flip_leads_to_a_run_within_seconds(
    kube: Kube, namespace: str, watched: Object, case: Case
) -> None:
    signal = case.signal
    until("watched serves", lambda: _serving(kube, namespace), 120)
    name = f"watched-{signal.lower()}"
    kube.apply(
        {
            "apiVersion": "everloop.dev/v1alpha1",
            "kind": "Monitor",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "deployment": "watched",
                **case.spec,
                "retrain": {
                    "signals": [signal],
                    "cooldown": "52w",
                    # nothing is registered: a newer version that waits would forbid the next run
                    "overrides": {"gates": [{"metric": "auc", "min": "0.9"}]},
                },
            },
        }
    )
    url = "v2/models/watched/infer"
    with _forward(kube, namespace, "svc/watched", 80) as router, Client(f"{router}/{url}") as load:
        until(
            f"{signal} is OK",
            lambda: _state(kube, name, namespace, signal) == "OK" and load.answered > 100,
            120,
        )
        until("it is ready", lambda: is_true(kube.get("mlmon", name, namespace), "Ready"), 60)
        with _watch_runs(kube, namespace, name) as runs, case.flip(kube, namespace, load):
            until("requests fail", lambda: load.first_failure, 30, every=0.01)
            until("a run is made", lambda: runs, 60, every=0.01)
    run, made = runs[0]
    assert load.first_failure is not None
    took = made - load.first_failure
    assert took <= MOST_SECONDS, f"{run} was made {took:.1f} s after the first failing request"
    trigger = json.loads(
        kube.get("mltr", run, namespace)["metadata"]["annotations"]["everloop.dev/trigger"]
    )
    assert (trigger["signal"], trigger["champion"]) == (signal, "watched-v1")
    # the alert goes on for a while, and is asked about every second: it stays one run
    until("the servers are back", lambda: _serving(kube, namespace), 120)
    assert len(kube.list("mltr", namespace, f"everloop.dev/monitor={name}")) == 1


def _serving(kube: Kube, namespace: str) -> Object:
    found = kube.get("mldep", "watched", namespace)
    return found if is_true(found, "Ready") else {}


def _state(kube: Kube, name: str, namespace: str, signal: str) -> str | None:
    monitor = kube.get("mlmon", name, namespace)
    loaded = condition(monitor, "RulesLoaded").get("status") == "True"
    signals = monitor.get("status", {}).get("signals") or []
    states = {item["name"]: item["state"] for item in signals}
    return states.get(signal) if loaded else None


@contextmanager
def _forward(kube: Kube, namespace: str, target: str, port: int) -> Iterator[str]:
    """A URL on this machine that leads to a port inside."""
    process = _start(kube, "port-forward", "-n", namespace, target, f":{port}")
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", said)
        assert found, said
        # it tells of each connection, and would stop if nobody read
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        _end(process)


@contextmanager
def _watch_runs(kube: Kube, namespace: str, monitor: str) -> Iterator[list[tuple[str, float]]]:
    """Runs of a Monitor with the moment they were seen, as they are made."""
    process = _start(
        kube, "get", "mltr", "-n", namespace, "-l", f"everloop.dev/monitor={monitor}", "-w",
        "-o", "jsonpath={.metadata.name}{\"\\n\"}",
    )  # fmt: skip
    seen: list[tuple[str, float]] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            seen.append((line.strip(), time.monotonic()))

    threading.Thread(target=read, daemon=True).start()
    try:
        yield seen
    finally:
        _end(process)


def _start(kube: Kube, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(kube.kubectl), f"--kubeconfig={kube.kubeconfig}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
