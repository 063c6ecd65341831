"""What follows from a TrainingRun, an Experiment and a ModelVersion, without a cluster.

Each `…_stages` yields texts, one for each moment of a small story: all that is planned then. Two
objects that differ in a field which does anything differ in one of these texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import experiment_world
from field_schema import Json
from golden import FakeOutside, FakeReader, tick
from runs import (
    NAMESPACE,
    STARTED,
    VERSUS_GATE,
    job_condition,
    make_config,
    make_job,
    make_pod,
    make_report,
    make_report_map,
    make_run,
    make_version,
    running,
)

from everloop import contract
from everloop.api.modelversion import ModelVersion
from everloop.api.trainingrun import TrainingRun
from everloop.errors import InvalidSpec
from everloop.handlers import modelversion, trainingrun
from everloop.handlers.kind import Kind
from everloop.manifests.trainingrun import build_champion
from everloop.plans.plan import Plan
from everloop.settings import Settings

START = datetime.fromisoformat(STARTED)
VOLATILE = ("observedGeneration", "lastTransitionTime", "stepStarted", "since")
VALUES = [0.9, 0.6, 0.3, None, 0.4, 0.7]  # how trials end, in turn; None: it fails


def shown(plan: Plan | InvalidSpec) -> str:
    """All that a plan does, as text; the copy of the spec in a ModelVersion is no effect."""
    if isinstance(plan, InvalidSpec):
        return f"Stalled: {plan}"
    children = json.loads(json.dumps([child.manifest for child in plan.children]))
    for child in children:
        if child["kind"] == "ModelVersion":
            child["spec"]["provenance"]["runSpec"] = {}
    parts = [
        children,
        [patch.manifest for patch in plan.patches],
        [f"{item.kind} {item.name}" for item in plan.deletions],
        [f"{item.reason}: {item.message}" for item in plan.events],
        plan.status,
        plan.finalizers,
        str(plan.requeue_at),
    ]
    return json.dumps(parts, sort_keys=True, indent=1)


def children(stage: str) -> list[Json]:
    """The children in a text that `shown` made."""
    found: list[Json] = json.loads(stage)[0] if stage.startswith("[") else []
    return found


def steady(parts: Any) -> str:
    """Text without times and generations."""
    text = json.dumps(parts, sort_keys=True, indent=1)
    return "\n".join(
        line for line in text.split("\n") if not any(f'"{name}":' in line for name in VOLATILE)
    )


def planned(kind: Kind[Any], parent: Json, objects: list[Json], now: datetime) -> Plan:
    """One pass over objects."""
    outside = FakeOutside(Settings(), FakeReader([parent, *objects]))
    return tick(kind, parent, [parent, *objects], outside, now)


def passed(kind: Kind[Any], parent: Json, objects: list[Json], now: datetime) -> str:
    """One pass over objects; a spec that cannot be planned says so, as the engine shows it."""
    try:
        return shown(planned(kind, parent, objects, now))
    except InvalidSpec as invalid:
        return shown(invalid)


@dataclass(frozen=True)
class Back:
    """What becomes of an object that is changed later, and changed back."""

    restored: bool  # whether it is as if nothing had been changed
    unchanged: Iterator[str]  # its story
    changed: Iterator[str]  # its story with a change that stays


def run_and_back(spec: Json, changed: Json) -> Back:
    """Job and status of a run under way: before a change, after it, after it was taken back."""
    run = make_run()
    run["spec"] = spec
    config, job = make_config(run), make_job(run)
    found = []
    for wanted in (spec, changed, spec):
        run["spec"] = wanted
        plan = planned(trainingrun.KIND, run, [config, job], START)
        for patch in plan.patches:
            job["spec"] |= patch.manifest.get("spec", {})
        run["status"] = plan.status
        found.append(steady([job["spec"], plan.status]))
    before, during, after = found
    return Back(after == before, iter([before]), iter([during]))


def experiment_and_back(spec: Json, changed: Json) -> Back:
    """How a search goes on; changed back, how it ends: trials that were made meanwhile stay."""
    unchanged, back = list(_searched(spec, spec, spec)), list(_searched(spec, changed, spec))
    return Back(unchanged[-1] == back[-1], iter(unchanged), _searched(spec, changed, changed))


def _searched(*specs: Json) -> Iterator[str]:
    """What is planned as trials end, after a pass with each of these specs; the ends come last."""
    ends = []
    for values in (VALUES, [None]):
        world = experiment_world.World(**specs[0])
        for spec in specs:
            world.experiment["spec"] = spec
            yield steady(json.loads(shown(world.tick())))
        ended: set[str] = set()
        while new := [name for name in world.trials() if name not in ended]:
            for name in new:
                ended.add(name)
                number = int(name.rpartition("-")[2])
                world.end(number, values[number % len(values)])
            yield steady(json.loads(shown(world.tick())))
        ends.append(world.experiment["status"])
    yield steady(ends)


def version_and_back(spec: Json, changed: Json) -> Back:
    """A version, of which nothing may change."""
    return Back(True, version_stages(spec), version_stages(changed))


def run_stages(spec: Json) -> Iterator[str]:
    """A run from its config to its end: well, badly, late, suspended and tried again."""
    run = make_run()
    run["spec"] = spec
    serving = {
        "apiVersion": contract.API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": "flights", "namespace": NAMESPACE, "uid": "uid-dep"},
        "spec": {"modelName": "flights"},
        "status": {"champion": "flights-v1"},
    }
    cluster = [serving, make_version(1)]

    def at(seconds: float, *objects: Json) -> str:
        return passed(
            trainingrun.KIND, run, [*cluster, *objects], START + timedelta(seconds=seconds)
        )

    yield at(1)
    typed = TrainingRun.model_validate(run)
    compared = any(gate.deployment == "flights" for gate in typed.spec.gates)
    version = ModelVersion.model_validate(make_version(1))
    config = make_config(run, build_champion("flights", version) if compared else None)
    yield at(1, config)
    first = make_job(run, 1)
    yield at(60, config, first, make_pod(first, running(), phase="Running"))
    yield at(60, config, make_job(run, 1, status=job_condition("Failed")))
    yield at(60, config, first, make_job(run, 2, status=job_condition("Failed")))
    report = make_report(
        run,
        versus={
            "outcome": "Compared",
            "metrics": {"auc": "0.69"},
            "intervals": {"auc": {"difference": "-0.01", "low": "-0.02", "high": "0.01"}},
        },
    )
    yield at(
        60, config, make_job(run, 1, status=job_condition("Complete")), make_report_map(run, report)
    )
    for seconds in (60, 550, 4000, 10**5, 10**6):  # no pod comes
        yield at(seconds, config, first)


def experiment_stages(spec: Json) -> Iterator[str]:
    """A search whose trials end in turn, one whose trials all fail."""
    for values in (VALUES, [None]):
        world = experiment_world.World(**spec)
        ended: set[str] = set()
        for _ in range(4):
            yield shown(world.tick())
            for name in world.trials():
                if name not in ended:
                    ended.add(name)
                    number = int(name.rpartition("-")[2])
                    world.end(number, values[number % len(values)])
        yield shown(world.tick())


def version_stages(spec: Json) -> Iterator[str]:
    """A version by itself, and as what a run is compared with."""
    name = f"{spec['modelName']}-v{spec['version']}"
    version: Json = {
        "apiVersion": contract.API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": "uid-version", "generation": 1},
        "spec": spec,
    }
    now = START
    yield passed(modelversion.KIND, version, [], now)
    serving = {
        "apiVersion": contract.API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": "flights", "namespace": NAMESPACE, "uid": "uid-dep"},
        "spec": {"modelName": "flights"},
        "status": {"champion": name},
    }
    run = make_run("flights-3", gates=[VERSUS_GATE])
    yield passed(trainingrun.KIND, run, [serving, version], now)
    report = make_report_map(run, make_report(run))
    yield passed(trainingrun.KIND, run, [make_config(run), report, version], now)
