"""Golden cases: what a kind plans for a small cluster, compared with files that people can read.

A case is a folder with `input.yaml` and, written by `UPDATE_GOLDEN=1`, `children.yaml` (children,
patches, deletions, events, requeue) and `status.yaml`. input.yaml:

    now: "2026-01-02T03:04:05Z"
    parent: {kind: TrainingRun, namespace: ml, name: flights-1}
    settings: {clock_speedup: 10}        # fields of Settings, optional
    objects: […]                         # what the cache holds, the parent included
    live: […]                            # what only a live read finds, optional
    events: {<uid>: [{reason: …, message: …, type: Warning}]}   # Kubernetes Events, optional
    absent: [monitoring.coreos.com/v1 PodMonitor]               # kinds the cluster lacks, optional
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from everloop import contract
from everloop.cluster.index import REGISTERED
from everloop.handlers.kind import Kind, Object
from everloop.plans.plan import Plan
from everloop.settings import Settings

ROOT = Path(__file__).parents[1] / "golden"
# What the API server notes of an object that the operator created.
MADE_BY_US = [{"manager": contract.FIELD_MANAGER, "operation": "Update"}]


def is_kind(value: Object, kind: str) -> bool:
    """Whether the object is of this kind as the cache names it: `Kind`, or `Kind.group`.

    A plain `Deployment` is ours, the other one is `Deployment.apps`.
    """
    group = value["apiVersion"].rpartition("/")[0]
    if kind == "Deployment":
        return bool(value["kind"] == kind and group == contract.GROUP)
    return bool(kind in (value["kind"], f"{value['kind']}.{group}"))


@dataclass(frozen=True)
class FakeView:
    """handlers.kind.View over a list of objects."""

    objects: Sequence[Object]

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        for item in self.list(kind, namespace):
            if item["metadata"]["name"] == name:
                return item
        return None

    def list(
        self,
        kind: str,
        namespace: str,
        labels: Mapping[str, str] | None = None,
        *,
        model: str | None = None,
    ) -> Sequence[Object]:
        return [
            item
            for item in self.objects
            if is_kind(item, kind)
            and item["metadata"].get("namespace", "") == namespace
            and (labels or {}).items() <= item["metadata"].get("labels", {}).items()
            and (model is None or item["spec"].get("modelName") == model)
        ]

    def names(self, kind: str, namespace: str) -> Sequence[str]:
        return [item["metadata"]["name"] for item in self.list(kind, namespace)]

    def values(self, kind: str, namespace: str, what: str) -> Sequence[str]:
        items = self.list(kind, namespace)
        if what == REGISTERED:
            fields = (item.get("status", {}).get("modelVersion") for item in items)
            return [value for value in fields if value]
        found = (item["metadata"].get("annotations", {}) for item in items)
        return [annotations[what] for annotations in found if what in annotations]

    def children(self, kind: str, owner: Object) -> Sequence[Object]:
        uid = owner["metadata"]["uid"]
        return [
            item
            for item in self.list(kind, owner["metadata"]["namespace"])
            if any(
                reference.get("controller") and reference["uid"] == uid
                for reference in item["metadata"].get("ownerReferences", [])
            )
            or item.get("spec", {}).get("provenance", {}).get("runUid") == uid
        ]


@dataclass(frozen=True)
class FakeReader:
    """handlers.kind.Reader over a list of objects and their events."""

    objects: Sequence[Object]
    events_by_uid: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    absent_kinds: frozenset[str] = frozenset()  # "monitoring.coreos.com/v1 PodMonitor"

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        for item in self.objects:
            meta = item["metadata"]
            wanted = (api_version, kind, namespace, name)
            if (
                item["apiVersion"],
                item["kind"],
                meta.get("namespace", ""),
                meta["name"],
            ) == wanted:
                return item
        return None

    async def children(
        self, api_version: str, kind: str, owner: Object, labels: str
    ) -> Sequence[Object]:
        name, _, value = labels.partition("=")
        return [
            item
            for item in FakeView(self.objects).children(kind, owner)
            if item["apiVersion"] == api_version
            and item["metadata"].get("labels", {}).get(name) == value
        ]

    async def warnings(self, namespace: str, uid: str) -> Sequence[Object]:
        return self.events_by_uid.get(uid, [])

    async def serves(self, api_version: str, kind: str) -> bool:
        return f"{api_version} {kind}" not in self.absent_kinds


@dataclass(frozen=True)
class FakeOutside:
    """handlers.outside.Outside without a cluster."""

    settings: Settings
    kube: FakeReader
    prometheus: Any = None
    http: Any = None

    def report_ca(self) -> str:
        return "-----BEGIN CERTIFICATE-----\nexample\n-----END CERTIFICATE-----\n"

    def wake(self, key: object) -> None:
        """Nobody sleeps here."""


def cases(kind: str) -> list[Path]:
    """The cases of a kind, for `pytest.mark.parametrize(..., ids=lambda folder: folder.name)`."""
    return sorted(path.parent for path in (ROOT / kind).glob("*/input.yaml"))


def plan_case(kind: Kind[Any], folder: Path, prometheus: Any = None, http: Any = None) -> Plan:
    """What the kind plans for the case in this folder."""
    given = yaml.safe_load((folder / "input.yaml").read_text())
    parent = FakeView(given["objects"]).get(**given["parent"])
    assert parent is not None, f"{folder}/input.yaml: the parent is not among the objects"
    settings = Settings(**given.get("settings", {}))
    reader = FakeReader(
        [*given["objects"], *given.get("live", [])],
        given.get("events", {}),
        frozenset(given.get("absent", [])),
    )
    outside = FakeOutside(settings, reader, prometheus, http)
    return tick(kind, parent, given["objects"], outside, datetime.fromisoformat(given["now"]))


def tick(
    kind: Kind[Any],
    parent: Object,
    objects: Sequence[Object],
    outside: FakeOutside,
    now: datetime,
) -> Plan:
    """One pass of a kind over objects, without the engine."""

    async def observe() -> Any:
        return await kind.observe(parent, FakeView(objects), outside)

    return kind.plan(asyncio.run(observe()), now)


def check_case(kind: Kind[Any], folder: Path, prometheus: Any = None, http: Any = None) -> Plan:
    """Plan a case and compare with its files; with UPDATE_GOLDEN=1 write them instead."""
    plan = plan_case(kind, folder, prometheus, http)
    for name, text in (("children.yaml", describe(plan)), ("status.yaml", dump(plan.status))):
        file = folder / name
        if os.environ.get("UPDATE_GOLDEN"):
            file.write_text(text)
        assert file.exists(), f"{file} is missing: run the test once with UPDATE_GOLDEN=1"
        assert file.read_text() == text, f"{file} differs: see what changed with UPDATE_GOLDEN=1"
    return plan


def describe(plan: Plan) -> str:
    """All of a plan but its status, as YAML."""
    parts: dict[str, Any] = {
        "children": [
            {
                "mode": child.mode.value,
                "owned": child.owned,
                "onConflict": child.on_conflict.value,
                "manifest": child.manifest,
            }
            for child in plan.children
        ],
        "patches": [patch.manifest for patch in plan.patches],
        "deletions": [
            f"{item.kind} {item.namespace}/{item.name} {item.uid} {item.propagation}"
            for item in plan.deletions
        ],
        "events": [f"{item.type} {item.reason}: {item.message}" for item in plan.events],
        "counters": plan.counters,
        "finalizers": None if plan.finalizers is None else list(plan.finalizers),
        "requeueAt": plan.requeue_at.isoformat() if plan.requeue_at else None,
    }
    return dump({key: value for key, value in parts.items() if value not in ([], {}, None)})


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, and no anchors for what happens to be shared."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump(value: Any) -> str:
    """YAML as people write it."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
