"""From the release before to this one and back, under load: nothing fails or starts again."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e import Kube, Object, is_true, until
from previous import same_images, same_templates, unpack
from tests.e2e.conftest import ROOT, SPEEDUP
from tests.e2e.load import RATE, answers, load, under_load
from tests.e2e.small_runs import TRAIN, make_run, python

logger = logging.getLogger(__name__)
NAME, OLD, BUCKET = "upgrade", "downgraded", "e2e-upgrade"
LEAST = 0.95  # of RATE was sent: else there was no load
# Waits for a file that the test puts there once the operator has been replaced.
PATIENT = """
import pathlib, time
while not pathlib.Path("/workspace/go-on").exists():
    time.sleep(0.2)
"""


@dataclass(frozen=True)
class Server:
    """One child apps/Deployment: what it asks for, and the pods it has."""

    template: Object
    pods: frozenset[str]


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the release before."""
    return unpack(tmp_path_factory.mktemp("previous"))


@dataclass(frozen=True)
class Releases:
    """Two trees of our source, and the cluster they are installed into."""

    previous: Path
    cluster_name: str

    def install(self, source: Path) -> None:
        """Build, push, `helm upgrade`, and wait until the operator is ready."""
        command = [sys.executable, "-m", "devcluster.install", "--name", self.cluster_name]
        subprocess.run([*command, "--speedup", SPEEDUP], cwd=source, check=True)

    def compare(self, name: str, one: Object, other: Object) -> None:
        """Templates of the two releases differ only where their golden files or images do."""
        if not same_templates(self.previous):
            return
        assert without_images(one) == without_images(other), f"{name}: no golden file says why"
        assert not same_images(self.previous) or one == other, f"{name}: other images of the same"


@pytest.fixture(scope="module")
def releases(kube: Kube, cluster_name: str, previous: Path) -> Iterator[Releases]:
    """The release before is installed; in the end this one is again."""
    both = Releases(previous, cluster_name)
    both.install(previous)
    yield both
    both.install(ROOT)


def test_upgrade_and_downgrade_under_load(
    kube: Kube, namespace: str, bucket: str, releases: Releases
) -> None:
    output = {"uri": f"s3://{bucket}/models", "format": "sklearn"}
    kube.apply(make_run("upgrade-a", namespace, python(TRAIN), modelName=NAME, output=output))
    until("the first run ends", lambda: complete(kube, "upgrade-a", namespace), 180)
    kube.apply(make_deployment(namespace))
    until("it serves", lambda: is_true(kube.get("mldep", NAME, namespace), "Ready"), 180)
    waiting = make_run(
        "upgrade-b", namespace, python(PATIENT, TRAIN), modelName=NAME, output=output
    )
    kube.apply(waiting)
    pod = until("the second run waits", lambda: running_pod(kube, "upgrade-b", namespace), 120)
    untouched = job(kube, pod, namespace)
    with under_load(kube, namespace, NAME):
        ours = []
        for source in (ROOT, releases.previous, ROOT):
            was = servers(kube, namespace)
            with all_answered(kube, namespace):
                releases.install(source)
                settle(kube, namespace)
                if source == releases.previous:  # work begins and ends under it as well
                    kube.apply(
                        make_run(OLD, namespace, python(TRAIN), modelName=OLD, output=output)
                    )
                    until("a run ends", lambda: complete(kube, OLD, namespace), 180)
            now = servers(kube, namespace)
            assert now.keys() == was.keys()
            for name, server in now.items():
                same = server.template == was[name].template
                assert (server.pods == was[name].pods) == same, f"{name}: rolled without a reason"
                releases.compare(name, was[name].template, server.template)
            if source == ROOT:
                ours.append({name: server.template for name, server in now.items()})
            assert running_pod(kube, "upgrade-b", namespace) == pod, "the running pod was touched"
            assert job(kube, pod, namespace) == untouched
        assert ours[0] == ours[1], "one release, two templates"
        with all_answered(kube, namespace):
            roll(kube, namespace)
        kube.run("exec", pod, "-n", namespace, "-c", "train", "--", "touch", "/workspace/go-on")
        until("the second run ends", lambda: complete(kube, "upgrade-b", namespace), 120)
    runs = [item for item in kube.list("jobs", namespace) if NAME in item["metadata"]["name"]]
    assert len(runs) == 2, "one Job for each run"
    versions = [item["metadata"]["name"] for item in kube.list("mlmv", namespace)]
    assert {f"{NAME}-v1", f"{NAME}-v2"} <= set(versions)
    assert f"{NAME}-v3" not in versions


@contextmanager
def all_answered(kube: Kube, namespace: str) -> Iterator[None]:
    """Throughout the block requests come at RATE, and each is answered with 200."""
    before = load(kube, namespace)
    yield
    after = load(kube, namespace)
    rate = (after.sent - before.sent) / (after.seconds - before.seconds)
    seen = until("all are answered", lambda: answered(kube, namespace, after.sent), 30)
    logger.info("%.1f requests a second for %.0f s", rate, after.seconds - before.seconds)
    assert set(seen) == {"200"}
    assert rate >= LEAST * RATE


def answered(kube: Kube, namespace: str, sent: int) -> dict[str, int]:
    """The answers, once there are as many as there were requests."""
    seen = answers(kube, namespace)
    return seen if sum(seen.values()) >= sent else {}


def without_images(template: Object) -> Object:
    """A pod template with every image taken out."""
    bare = deepcopy(template)
    for container in (*bare["spec"].get("initContainers", []), *bare["spec"]["containers"]):
        del container["image"]
    return bare


def roll(kube: Kube, namespace: str) -> None:
    """What an upgrade with other images does, whatever the two releases have in common."""
    was = servers(kube, namespace)
    changed = make_deployment(namespace)
    changed["spec"]["runtime"]["pod"]["annotations"] = {"rolled": "once"}
    kube.apply(changed)

    def rolled() -> bool:
        now = servers(kube, namespace)
        return any(now[name].template != server.template for name, server in was.items())

    until("a server's template differs", rolled, 60)
    settle(kube, namespace)
    now = servers(kube, namespace)
    for name, server in was.items():
        if now[name].template != server.template:
            assert not now[name].pods & server.pods, f"{name}: an old pod serves still"


def job(kube: Kube, pod: str, namespace: str) -> Object:
    """The Job of a pod: which it is, and what it asks for."""
    owner = kube.get("pod", pod, namespace)["metadata"]["ownerReferences"][0]["name"]
    found = kube.get("job", owner, namespace)
    return {"uid": found["metadata"]["uid"], "spec": found["spec"]}


def make_deployment(namespace: str) -> Object:
    return {
        "apiVersion": "everloop.dev/v1alpha1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "modelName": NAME,
            "versions": [{"modelVersion": f"{NAME}-v1", "weight": 100}],
            "runtime": {"pod": {"envFrom": [{"secretRef": {"name": "s3-credentials"}}]}},
        },
    }


def complete(kube: Kube, run: str, namespace: str) -> bool:
    return is_true(kube.get("mltr", run, namespace), "Complete")


def running_pod(kube: Kube, run: str, namespace: str) -> str:
    """The name of the run's pod once its step `train` is under way."""
    for pod in kube.list("pods", namespace, f"everloop.dev/training-run={run}"):
        for step in pod.get("status", {}).get("initContainerStatuses", []):
            if step["name"] == "train" and "running" in step["state"]:
                return str(pod["metadata"]["name"])
    return ""


def servers(kube: Kube, namespace: str) -> dict[str, Server]:
    """The model servers and routers of the Deployment, by name."""
    selector = f"everloop.dev/deployment={NAME}"
    pods = kube.list("pods", namespace, selector)
    found = {}
    for item in kube.list("deployments.apps", namespace, selector):
        name = item["metadata"]["name"]
        own = [
            pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")
        ]
        found[name] = Server(
            item["spec"]["template"],
            frozenset(pod for pod in own if pod.rsplit("-", 2)[0] == name),
        )
    return found


def settle(kube: Kube, namespace: str) -> None:
    """Until the new operator has looked at the Deployment and every roll-out is over."""
    until("the operator has planned", lambda: planned(kube), 60)
    for name in servers(kube, namespace):
        kube.run("-n", namespace, "rollout", "status", f"deployment.apps/{name}", "--timeout=120s")
    until(
        "old pods are gone",
        lambda: (
            not any(
                pod["metadata"].get("deletionTimestamp")
                for pod in kube.list("pods", namespace, f"everloop.dev/deployment={NAME}")
            )
        ),
        120,
    )


def planned(kube: Kube) -> bool:
    """Whether a pod of the operator that is not ending leads, and has nothing left to do."""
    for pod in kube.list("pods", "everloop-system", ""):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        path = f"namespaces/everloop-system/pods/{pod['metadata']['name']}:8080/proxy/metrics"
        text = kube.run("get", "--raw", f"/api/v1/{path}")
        if all(
            f"everloop_operator_{name}" in text.splitlines()
            for name in ("leader 1.0", "queue_depth 0.0", "reconciles_running 0.0")
        ):
            return True
    return False
