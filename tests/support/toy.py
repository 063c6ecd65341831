"""A kind small enough to test the engine alone: one ConfigMap, one Job, one reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from everloop import contract, errors
from everloop.api import conditions
from everloop.handlers.kind import Kind, Object, Ref, Resource, View
from everloop.plans.plan import Child, Event, Mode, Plan

GROUP = f"test.{contract.GROUP}"
TOYS = Resource(GROUP, "v1", "toys", "Toy")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
JOBS = Resource("batch", "v1", "jobs", "Job")
LABELS = {contract.MANAGED_BY: contract.MANAGED_BY_VALUE}

CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"toys.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "Toy", "plural": "toys", "singular": "toy", "listKind": "ToyList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "value": {"type": "string"},
                                    "extra": {"type": "string"},
                                    "copy": {"type": "string"},
                                    "job": {"type": "boolean"},
                                },
                            },
                            "status": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            },
                        },
                    }
                },
            }
        ],
    },
}


def make_toy(name: str, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """A Toy as a user writes it."""
    return {
        "apiVersion": TOYS.api_version,
        "kind": "Toy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"value": "one"} | spec,
    }


@dataclass(frozen=True)
class Observed:
    """A Toy with its Job, and the Toy whose value it copies."""

    toy: Object
    job: Object | None
    copied: Object | None


async def observe(toy: Object, view: View, outside: Any) -> Observed:
    namespace = toy["metadata"]["namespace"]
    copy = toy["spec"].get("copy")
    jobs = view.children("Job", toy)
    return Observed(
        toy=toy,
        job=jobs[0] if jobs else None,
        copied=view.get("Toy", namespace, copy) if copy else None,
    )


def plan(observed: Observed, now: datetime) -> Plan:
    """The ConfigMap has the Toy's value, `extra` only while the Toy has it; the Job runs once.

    The status may say Ready at once: it is written only after the children have been applied.
    """
    toy = observed.toy
    spec, meta = toy["spec"], toy["metadata"]
    if spec["value"] == "impossible":
        raise errors.InvalidSpec("spec.value is 'impossible': write anything else")
    status = dict(toy.get("status") or {})
    data = {"value": spec["value"]}
    if "extra" in spec:
        data["extra"] = spec["extra"]
    if observed.copied is not None:
        data["copied"] = observed.copied["spec"]["value"]
    children = [Child(_config(meta["name"], data))]
    events = []
    if spec.get("job"):
        if not status.get("started"):
            children.append(Child(_job(meta["name"]), mode=Mode.CREATE_ONCE))
            status["started"] = True
            events.append(Event("Started", f"started Job {meta['name']}"))
        elif observed.job is None:
            status["lost"] = True
    status["observedGeneration"] = meta["generation"]
    status["value"] = spec["value"]
    status["conditions"] = conditions.merge(
        status.get("conditions"),
        [conditions.condition(contract.READY, True, "Copied")],
        meta["generation"],
        now,
    )
    return Plan(children=tuple(children), status=status, events=tuple(events))


def _config(name: str, data: dict[str, str]) -> dict[str, Any]:
    meta = {"name": name, "labels": dict(LABELS), "annotations": {"purpose": "test"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def _job(name: str) -> dict[str, Any]:
    container = {"name": "main", "image": "none"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": dict(LABELS)},
        "spec": {"backoffLimit": 0, "suspend": True, "template": template},
    }


def references(toy: Object) -> Iterable[Ref]:
    copy = toy["spec"].get("copy")
    if copy:
        yield Ref("Toy", toy["metadata"]["namespace"], name=copy)


TOY: Kind[Observed] = Kind(
    resource=TOYS,
    children=(CONFIG_MAPS, JOBS),
    references=references,
    observe=observe,
    plan=plan,
)
