"""The chart, rendered by helm."""

from __future__ import annotations

import subprocess
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from devcluster import binaries

Json = dict[str, Any]
CHART = Path(__file__).parents[2] / "charts" / "everloop"
RELEASE, NAMESPACE = "everloop", "everloop-system"
# The kinds whose presence in a cluster the templates ask for.
MONITORING = ("--api-versions", "monitoring.coreos.com/v1/PodMonitor")
MONITORING_RULES = ("--api-versions", "monitoring.coreos.com/v1/PrometheusRule")


def helm(*arguments: str, kubeconfig: Path | None = None) -> str:
    """Run helm; AssertionError with its words when it fails."""
    command = [str(binaries.find("helm")["helm"]), *arguments]
    if kubeconfig is not None:
        command += ["--kubeconfig", str(kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(*arguments: str) -> list[Json]:
    """The chart's objects with these arguments of `helm template`."""
    return deepcopy(_rendered(arguments))


@cache
def _rendered(arguments: tuple[str, ...]) -> list[Json]:
    text = helm("template", RELEASE, str(CHART), "-n", NAMESPACE, *arguments)
    return [item for item in yaml.safe_load_all(text) if item]


def find(objects: list[Json], kind: str, name: str) -> Json:
    """The one object of this kind and name."""
    (found,) = (o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)
    return found


def of_kind(objects: list[Json], *kinds: str) -> list[Json]:
    """The objects of these kinds."""
    return [item for item in objects if item["kind"] in kinds]
