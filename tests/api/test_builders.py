"""Every builder: build → create → read → no difference, and the same after an apply.

What is built comes from the golden cases, so a new case is a new test here. Owners are left out:
their uids are made up, and the garbage collector would take the children away.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from devcluster.control_plane_only import ControlPlane
from golden import ROOT
from kube import Json, Kube, dns_label

from everloop import contract
from everloop.cluster.apply import Applier, prepare
from everloop.cluster.cache import Cache
from everloop.cluster.client import Client
from everloop.cluster.compare import difference
from everloop.cluster.credentials import load
from everloop.plans.plan import Child, Mode

PLANNED = sorted(ROOT.glob("*/*/children.yaml"))


def name(file: Path) -> str:
    return f"{file.parent.parent.name}-{file.parent.name}"


def children(file: Path) -> list[Json]:
    """What the case plans."""
    found: list[Json] = (yaml.safe_load(file.read_text()) or {}).get("children", [])
    return found


@pytest.mark.parametrize("file", PLANNED, ids=name)
async def test_build_apply_read(plane: ControlPlane, kube: Kube, file: Path) -> None:
    namespace = kube.namespace(f"built-{dns_label(name(file))}")
    parent: Json = {
        "apiVersion": contract.API_VERSION,
        "kind": "TrainingRun",
        "metadata": {"name": "parent", "namespace": namespace, "uid": "parent"},
    }
    async with Client(load({"KUBECONFIG": str(plane.kubeconfig)})) as client:
        for child in children(file):
            manifest = child["manifest"]
            manifest["metadata"]["namespace"] = namespace
            await check(client, parent, Child(manifest, Mode(child["mode"]), owned=False))


async def ignored(_item: object) -> None:
    """Nobody else is at it."""


async def check(client: Client, parent: Json, child: Child) -> None:
    """Create it, take its mark, have it applied: the builder's fields never differ."""
    desired = prepare(parent, child)
    live = await client.create(desired)
    assert difference(desired, live) is None, "as created"
    if child.mode is Mode.CREATE_ONCE:
        return
    cache = Cache()
    applier = Applier(client, cache, ignored)
    live["metadata"]["annotations"][contract.ANNOTATION_APPLIED] = "taken"
    cache.put(live)
    assert await applier.children(parent, [child]) == []
    meta = desired["metadata"]
    applied = await client.get(
        desired["apiVersion"], desired["kind"], meta["namespace"], meta["name"]
    )
    assert applied is not None
    assert difference(desired, applied) is None, "as applied"
