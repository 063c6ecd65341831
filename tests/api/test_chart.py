"""The chart on a real API server: installs, upgrades, uninstalls without taking users' objects."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import CHART, MONITORING, MONITORING_RULES, find, helm, rendered
from kube import Answered, Kube, ref

from everloop import contract

ROOT = Path(__file__).parents[2]
NAMES = ("name", "namespace", "secretName", "priorityClassName", "serviceAccountName", "value")


def test_lint() -> None:
    helm("lint", "--strict", str(CHART))


def test_settings_reach_the_operator() -> None:
    objects = rendered(
        *("--set", "image.registry=mirror.example/", "--set", "prometheus.scrapeInterval=1m30s"),
        *("--set", "prometheus.labels.release=kps", "--set", "clock.speedup=60"),
        *("--set", "webhook.existingSecret=hook", "--set", "caBundle.configMap=ours"),
    )
    (container,) = find(objects, "Deployment", "everloop")["spec"]["template"]["spec"]["containers"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert container["image"].startswith("mirror.example/everloop/operator:")
    assert env["EVERLOOP_ROUTER_IMAGE"].startswith("mirror.example/envoyproxy/envoy:")
    assert env["EVERLOOP_SCRAPE_INTERVAL_SECONDS"] == "90"
    assert json.loads(env["EVERLOOP_RULE_LABELS"] or "") == {"release": "kps"}
    assert env["EVERLOOP_CLOCK_SPEEDUP"] == "60"
    assert env["EVERLOOP_CA_BUNDLE_CONFIG_MAP"] == "ours"
    assert env["EVERLOOP_WEBHOOK_TOKEN_FILE"]


@pytest.mark.parametrize("watched", ["", "123,0x1f"])
def test_names_of_digits_stay_names(watched: str) -> None:
    """`123` is a namespace's name, and a number to YAML where it is not quoted."""
    strings = ("webhook.existingSecret=456", "priorityClassName=789", "image.pullSecrets={012}")
    settings = (*strings, f"watchNamespaces={{{watched}}}" if watched else "logLevel=info")
    arguments = [argument for setting in settings for argument in ("--set-string", setting)]
    text = helm(
        *("template", "123", str(CHART), "-n", "123", "--set", "crds.enabled=false"),
        *(*MONITORING, *MONITORING_RULES, *arguments),
    )
    objects = [item for item in yaml.safe_load_all(text) if item]
    places = {item["metadata"].get("namespace") for item in objects}
    assert places == ({"123", "0x1f"} if watched else {"123", None})
    assert len({item["kind"] for item in objects}) == (9 if watched else 11)
    assert [place for item in objects for place in _not_text(item, item["kind"])] == []


def _not_text(value: Any, place: str) -> Iterator[str]:
    """Where names, namespaces and labels are something else than text."""
    if isinstance(value, list):
        for item in value:
            yield from _not_text(item, place)
    elif isinstance(value, dict):
        for key, below in value.items():
            here = f"{place}.{key}"
            named = key in NAMES or place.endswith(("labels", "matchLabels", "selector"))
            if named and not isinstance(below, str | dict | list):
                yield f"{here}: {below!r}"
            yield from _not_text(below, here)


@pytest.mark.parametrize(
    "setting",
    [
        *("replicas=many", "nonsense=1", "prometheus.scrapeInterval=soon", "image.pullPolicy=No"),
        # By these labels our own pods are found: every pod with them would stall its object.
        r"podDefaults.labels.everloop\.dev/component=x",
        r"podDefaults.labels.app\.kubernetes\.io/managed-by=x",
    ],
)
def test_a_wrong_value_is_refused(setting: str) -> None:
    with pytest.raises(AssertionError, match=r"schema|specification"):
        rendered("--set", setting)


def test_uninstall_leaves_objects_and_another_release_takes_over(tmp_path: Path) -> None:
    from devcluster.control_plane_only import ControlPlane

    plane = ControlPlane(f"test-chart-{os.getpid()}")
    plane.start()
    try:
        kube = Kube(plane.kubeconfig)
        _life_of_a_release(kube, plane.kubeconfig, tmp_path)
    finally:
        plane.stop()


def _life_of_a_release(kube: Kube, kubeconfig: Path, folder: Path) -> None:
    kube.namespace("everloop-system")
    helm("install", "first", str(CHART), "-n", "everloop-system", kubeconfig=kubeconfig)
    monitor = {
        **ref(contract.API_VERSION, "Monitor", "default", "watch"),
        "spec": {"deployment": "flights", "errors": {}},
    }
    _created(kube, monitor)

    earlier = _chart_of_an_earlier_commit(folder)
    helm("upgrade", "first", str(earlier), "-n", "everloop-system", kubeconfig=kubeconfig)
    helm("upgrade", "first", str(CHART), "-n", "everloop-system", kubeconfig=kubeconfig)
    assert kube.get(monitor)

    helm("uninstall", "first", "-n", "everloop-system", kubeconfig=kubeconfig)
    assert kube.get(monitor), "uninstall took a user's object"
    for arguments in (["--take-ownership"], ["--set", "crds.enabled=false"]):
        helm(
            *("install", "second", str(CHART), "-n", "everloop-system"),
            *arguments,
            kubeconfig=kubeconfig,
        )
        assert kube.get(monitor)
        helm("uninstall", "second", "-n", "everloop-system", kubeconfig=kubeconfig)


def _created(kube: Kube, manifest: dict[str, Any]) -> None:
    """Create an object of a kind whose CRD was just installed."""
    from operator_process import eventually

    def tried() -> bool:
        try:
            kube.create(manifest)
        except Answered as answered:
            if answered.status == 404:
                return False
            raise
        return True

    eventually(tried, 20, "the CRD is not served")


def _chart_of_an_earlier_commit(folder: Path) -> Path:
    """The chart before the last commit that changed it; today's if there is only one."""
    log = ["git", "-C", str(ROOT), "log", "--format=%h", "--skip=1", "-1", "--", str(CHART)]
    commit = subprocess.run(log, capture_output=True, text=True, check=True).stdout.strip()
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit or "HEAD", "charts/everloop"],
        capture_output=True,
        check=True,
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder / "charts" / "everloop"
