"""Bugs that users of neighbouring projects met, as they could occur here.

Each test's first line names the project and the issue. Others have been tests of ours all along:
docs/developer.md has the whole list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import monitors
import pytest
from deployment_world import ROLLOUT, World, rolling

from everloop import contract
from everloop.manifests.router_routes import PIN_HEADER
from everloop.plans.deployment import plan
from everloop_server.metrics import Metrics

ROOT = Path(__file__).parents[2]
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
    for server in planned(rolling(), "Deployment"):
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


def test_an_alert_that_is_over_before_it_was_seen_asks_for_nothing() -> None:
    """alertmanager#878: a notification "resolved" came for an alert that never fired."""
    world = monitors.World()
    world.load_rules()
    for minute in range(3):  # the notification wakes the Monitor; Prometheus has no such alert
        world.step(monitors.after(minutes=minute))
    assert world.runs == []
    assert world.refusals() == {}
    assert world.signal("InputDrift")["state"] == "OK"


def test_a_stale_view_makes_no_further_objects() -> None:
    """kuberay#715: pods were made again since the cache did not have them yet."""
    world = rolling()
    first = {_identity(child.manifest) for child in world.tick().children}
    behind = replace(world.observed(), servers={}, routers=(), requested=None)
    again = {_identity(child.manifest) for child in plan(behind, world.now).children}
    assert again <= first


def _identity(manifest: dict[str, Any]) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


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
    assert len(named) > 15
    file = ""
    for entry in named:
        path, _, test = entry.rpartition("::")
        if entry.endswith(".py"):
            assert (ROOT / entry).exists(), entry
            continue
        file = file if path == "…" else path or "tests/unit/test_peers.py"
        assert f"def {test}(" in (ROOT / file).read_text(), entry
