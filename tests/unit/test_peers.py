"""Bugs that users of neighbouring projects met, as they could occur here.

Each test's first line names the project and the issue. Others have been tests of ours all along:
docs/developer.md has the whole list.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import experiment_world
import monitors
import pytest
import run_plans
import runs
from aiohttp.test_utils import TestClient, TestServer
from deployment_world import ROLLOUT, World, rolling
from golden import FakeView

from everloop import contract
from everloop.intake.alert_webhook import PATH, application
from everloop.manifests.router_routes import PIN_HEADER
from everloop.manifests.rules_common import LABEL_MONITOR, LABEL_NAMESPACE
from everloop.plans.plan import Plan
from everloop_server.metrics import Metrics

ROOT = Path(__file__).parents[2]
# Those that can occur here, as docs/developer.md names them.
BUGS = (
    *("argo-rollouts#4841", "argo-rollouts PR#4612"),
    *("rollouts-plugin-trafficrouter-gatewayapi#191", "flagger#30", "flagger#1029"),
    *("kserve#1968", "kserve#3768", "kserve#2269", "kserve#1859", "kserve#5984"),
    *("seldon-core#4359", "kuberay#715", "kuberay#3388"),
    *("alertmanager#4108", "alertmanager#878", "MLServer#2286", "MLServer's latency"),
)
V1, V2, V3 = "flights-v1", "flights-v2", "flights-v3"


def promoted() -> World:
    """flights-v2 has replaced flights-v1."""
    world = rolling()
    world.register(2)
    challenge(world, V2, failed=0)
    assert world.status.champion == V2
    return world


def challenge(world: World, version: str, failed: int) -> None:
    """A rollout to its end, whichever it is; the pause in it is 10 minutes."""
    world.run(2)
    world.ready(version)
    world.run(3)
    world.answer(version, 300, failed)
    world.run(3)
    world.run(3, minutes=11)


@pytest.mark.parametrize("lost", [False, True], ids=["status-kept", "status-lost"])
def test_a_failed_rollout_falls_back_to_the_champion_and_not_to_an_older_version(
    lost: bool,
) -> None:
    """kserve#1968: the traffic went back to a revision that had been replaced long ago."""
    world = promoted()
    world.register(3)
    if lost:
        world.lose_status()
    challenge(world, V3, failed=90)
    assert [item.model_version for item in world.status.rejected] == [V3]
    assert world.weights == {V2: 100}
    assert world.status.champion == V2
    world.run(4, seconds=20)
    assert set(world.servers) == {V2}


def planned(world: World, kind: str) -> Iterator[dict[str, Any]]:
    """Objects of a kind in the next plan."""
    for child in world.tick().children:
        if child.manifest["kind"] == kind:
            yield child.manifest


def test_replicas_stay_when_something_else_changes() -> None:
    """kserve#3768: an update of the image set the replicas back to 1."""
    world = rolling(spec={"runtime": {"replicas": 3}})
    world.edit(rollout=ROLLOUT, runtime={"replicas": 3, "image": "registry/server:2"})
    servers = list(planned(world, "Deployment"))
    images = {item["spec"]["template"]["spec"]["containers"][0]["image"] for item in servers}
    assert "registry/server:2" in images
    (server,) = (item for item in servers if item["metadata"]["name"] == V1)
    assert server["spec"]["replicas"] == 3


def test_a_new_server_is_ready_before_the_old_one_goes() -> None:
    """seldon-core#4359: an update took the old pod away first."""
    servers = [*planned(rolling(), "Deployment")]
    assert {item["metadata"]["name"] for item in servers} == {V1, "flights-router"}
    for server in servers:
        strategy = server["spec"]["strategy"]
        assert strategy["type"] == "RollingUpdate", server["metadata"]["name"]
        assert strategy["rollingUpdate"]["maxUnavailable"] == 0, server["metadata"]["name"]
        (container,) = (
            item
            for item in server["spec"]["template"]["spec"]["containers"]
            if "readinessProbe" in item
        )
        assert container["lifecycle"]["preStop"], server["metadata"]["name"]


def test_a_pinned_version_stays_reachable_after_a_restart_in_mid_rollout() -> None:
    """rollouts-plugin-trafficrouter-gatewayapi#191: the header's route was lost after a restart."""
    world = rolling()
    world.register(2)
    world.run(2)
    world.ready(V2)
    world.run(3)
    before = pins(world)
    assert set(before) == {V1, V2}
    world.lose_status()  # an operator that knows nothing but what is in the cluster
    assert pins(world) == before


def pins(world: World) -> dict[str, str]:
    """Version in the header → where the router sends it, of the next plan."""
    found = {}
    for config in planned(world, "ConfigMap"):
        for text in config["data"].values():
            if PIN_HEADER in text:
                for route in _routes(json.loads(text)):
                    for header in route["match"].get("headers", ()):
                        exact = header.get("string_match", {}).get("exact")
                        if header["name"] == PIN_HEADER and exact:
                            found[exact] = route["route"]["cluster"]
    return found


def _routes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield from value.get("routes", ())
        for item in value.values():
            yield from _routes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _routes(item)


def test_an_alert_about_a_version_that_is_gone_does_not_train_for_ever() -> None:
    """flagger#1029: metrics of a deleted canary kept an alert firing."""
    world = monitors.firing_world()
    world.step(monitors.after(seconds=1))
    (run,) = world.runs
    world.finish(run, monitors.after(hours=1))
    world.versions.append(monitors.make_version(2))
    world.deployment = monitors.make_deployment(V2)
    for day in range(1, 30):  # Prometheus goes on saying that v1's alert fires
        world.step(monitors.after(days=day))
    assert world.runs == [run]


def test_an_alert_that_is_over_before_it_was_seen_asks_for_nothing(tmp_path: Path) -> None:
    """alertmanager#878: a notification "resolved" came for an alert that never fired."""
    world = monitors.World()
    world.load_rules()
    world.step()
    for minute in range(1, 4):
        assert notified(world, "resolved", tmp_path / "token") == ["flights-watch"]
        world.step(monitors.after(minutes=minute))  # what it was woken for; Prometheus has no alert
    assert world.runs == []
    assert world.refusals() == {}
    assert world.signal("InputDrift")["state"] == "OK"


def notified(world: monitors.World, status: str, token: Path) -> list[str]:
    """Monitors that wake when Alertmanager posts an alert about the world's, with this status."""
    token.write_text("a-secret")
    woken: list[str] = []
    api: Any = SimpleNamespace(
        view=FakeView([world.monitor]),
        wake=lambda key: woken.append(key.name),
        is_leader=lambda: True,
        metrics=SimpleNamespace(increase=lambda _: None),
    )
    meta = world.monitor["metadata"]
    labels = {LABEL_NAMESPACE: meta["namespace"], LABEL_MONITOR: meta["name"]}
    labels |= {"everloop_signal": "InputDrift", "model_version": V1}
    alert = {"status": status, "labels": labels, "startsAt": "2026-01-02T02:00:00Z"}
    body = {"version": "4", "status": status, "alerts": [alert]}
    headers = {"Authorization": f"Bearer {token.read_text()}"}

    async def post() -> None:
        async with TestClient(TestServer(application(api, token))) as client:
            answer = await client.post(PATH, json=body, headers=headers)
            assert answer.status == 200

    asyncio.run(post())
    return woken


# --- kuberay#715: pods were made again since the cache did not have them yet; each of ours that has
# a number in its name, where what was made with it is not seen
def stale_trials() -> tuple[list[str], list[str]]:
    """Of a search that may try two at once, and has four to try."""
    world = experiment_world.World()
    first = _named(world.tick(), "TrainingRun")
    world.unseen = set(first)
    return first, _named(world.tick(), "TrainingRun")


def stale_attempts() -> tuple[list[str], list[str]]:
    """Of a run with many retries, whose first attempt has failed."""
    run, config, job, pod = run_plans.failed_run(retries=5)
    job["status"] |= runs.job_condition("Failed")
    first = run_plans.plan(run, config, job, pod)
    again = run | {"status": first.status}
    second = runs.make_job(run, 2)
    seen = run_plans.plan(again, config, job, pod, live=[second])
    return _named(first, "Job"), _named(seen, "Job")


def stale_versions() -> tuple[list[str], list[str]]:
    """Of a search whose best trial is registered."""
    world = experiment_world.World(trials=1, parallelTrials=1)
    world.tick()
    world.end(0, 0.9)
    plans = [world.tick(), world.tick()]
    first = [name for made in plans for name in _named(made, "ModelVersion")]
    world.unseen = set(first)
    world.experiment["status"] = {"observedGeneration": -1}
    return first, _named(world.tick(), "ModelVersion")


def stale_retrainings() -> tuple[list[str], list[str]]:
    """Of an alert without a cooldown, which goes on firing."""
    world = monitors.firing_world(retrain={"signals": ["InputDrift"], "cooldown": "0s"})
    first = _named(world.step(monitors.after(seconds=1)), "TrainingRun")
    world.hidden = {item["metadata"]["name"] for item in world.made}
    return first, _named(world.step(monitors.after(days=2)), "TrainingRun")


@pytest.mark.parametrize("made", [stale_trials, stale_attempts, stale_versions, stale_retrainings])
def test_a_stale_view_makes_no_further_objects(
    made: Callable[[], tuple[list[str], list[str]]],
) -> None:
    """kuberay#715, see above. The same name again is refused by the API server: nothing is made."""
    first, again = made()
    assert first, "nothing was made"
    assert set(again) <= set(first)


def _named(made: Plan, kind: str) -> list[str]:
    """Objects of a kind in a plan."""
    names = (child.manifest for child in made.children)
    return [item["metadata"]["name"] for item in names if item["kind"] == kind]


def test_the_model_server_has_an_event_loop_that_works() -> None:
    """MLServer#2286: its workers crash-loop with uvloop 0.22."""
    found = re.findall(
        r"^uvloop==(\d+)\.(\d+)", (ROOT / "requirements/runtime.txt").read_text(), re.M
    )
    assert len(found) == 1
    assert tuple(int(part) for part in found[0]) < (0, 22)


def test_latency_is_counted_in_a_histogram() -> None:
    """MLServer's model_infer_request_duration is a Summary, which has no p95."""
    families = Metrics("flights", V1, "sha256:0", None).registry.collect()
    (duration,) = (family for family in families if family.name == contract.METRIC_DURATION)
    assert duration.type == "histogram"
    assert len({sample.labels["le"] for sample in duration.samples if "le" in sample.labels}) > 5


def test_the_list_in_the_docs_names_tests_that_exist() -> None:
    page = (ROOT / "docs/developer.md").read_text()
    chapter = page.partition("## Bugs of the neighbours")[2].partition("\n## ")[0]
    named = re.findall(r"`([^`]*\btest_[^`]*)`", chapter.partition("|---|---|")[2])
    missing = [bug for bug in BUGS if bug not in chapter]
    assert not missing, "bugs of neighbours without a test"
    file = ""
    for entry in named:
        path, _, test = entry.rpartition("::")
        if entry.endswith(".py"):
            assert (ROOT / entry).exists(), entry
            continue
        file = file if path == "…" else path or "tests/unit/test_peers.py"
        assert f"def {test}(" in (ROOT / file).read_text(), entry
