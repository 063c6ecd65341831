"""What follows from a Deployment, a Monitor, and a ModelVersion that is served and retrained."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial

import monitors
from deployment_world import World, make_deployment
from field_schema import Json
from field_worlds import Lives, shown, steady

from everloop import contract
from everloop.api.modelversion import ModelVersion


def deployment_stages(spec: Json) -> Iterator[str]:
    """Versions come up; a challenger does well, badly, a little worse, nothing, or not start."""
    for story in STORIES:
        yield from story(_serving(spec))


def _serving(spec: Json) -> World:
    """A Deployment with one version registered (two where versions are listed), before its first
    pass."""
    world = World(make_deployment(**spec))
    world.register(1, *([2] if spec.get("versions") else []))
    return world


def _serves(world: World) -> Iterator[str]:
    yield shown(world.tick())
    world.start_routers()
    for _ in range(4):
        world.ready(*world.servers)
        world.sync()
        yield shown(world.tick(seconds=30))


def _champion(world: World) -> World:
    """The first version serves, a second one comes."""
    for _ in _serves(world):
        pass
    world.register(2)
    return world


def _good(world: World, failed: float = 0.0) -> Iterator[str]:
    _champion(world)
    for number in range(12):
        world.sync()
        world.ready(*world.servers)
        total = 150 * (number % 6 + 1)
        world.answer("flights-v1", total, round(0.01 * total))
        world.answer("flights-v2", total, round(failed * total))
        yield shown(world.tick(seconds=90))


def _bad(world: World) -> Iterator[str]:
    yield from _good(world, failed=0.3)


def _worse(world: World) -> Iterator[str]:
    yield from _good(world, failed=0.07)


def _unanswered(world: World) -> Iterator[str]:
    _champion(world)
    for hours in (0, 0, 1, 5, 7, 30, 300, 10**5):
        world.sync()
        world.ready(*world.servers)
        yield shown(world.tick(hours=hours))


def _never_ready(world: World) -> Iterator[str]:
    _champion(world)
    yield shown(world.tick())
    for minutes in (1, 5, 3, 10, 60, 10**4):
        yield shown(world.tick(minutes=minutes))


STORIES = (_serves, _good, _bad, _worse, _unanswered, _never_ready)


def deployment_and_back(spec: Json, changed: Json) -> Lives:
    """What it lives through unchanged, with a change that stays, and with one taken back."""
    lives = ((spec, spec, spec), (spec, changed, changed), (spec, changed, spec))
    before, during, after = (_lives(*specs) for specs in lives)
    return before, during, after


def _lives(*specs: Json) -> Iterator[str]:
    """Every story, of a Deployment that was at rest with each of these specs in turn.

    That it ever had another champion is history, and stays.
    """
    began = _serving(specs[0])
    _rest(began)
    for spec in specs[1:]:
        began.edit(**copy.deepcopy(spec))
        _rest(began)
    for story in STORIES:
        for text in story(copy.deepcopy(began)):
            children, *others = json.loads(text)
            lasting = [item for item in children if item["kind"] != "ControllerRevision"]
            yield steady([lasting, *others])


def _rest(world: World) -> None:
    world.tick()
    world.start_routers()
    for _ in range(5):
        world.ready(*world.servers)
        world.sync()
        world.tick(minutes=3)


def monitor_stages(spec: Json) -> Iterator[str]:
    """Rules; then each signal fires in turn, and one fires again and again."""
    return _watched(partial(_watching, spec))


def _watched(begin: Callable[[], monitors.World]) -> Iterator[str]:
    for signal in ("InputDrift", "OutputDrift", "ErrorsHigh", "Absent"):
        world = begin()
        yield shown(world.step())
        _fire(world, signal)
        yield shown(world.step(monitors.after(minutes=10)))
    world = begin()
    world.step()
    for number, hour in enumerate((1, 2, 5, 40, 400, 10**5), start=1):
        _fire(world, "InputDrift", hour)
        yield shown(world.step(monitors.after(hours=hour)))
        if number == len(world.runs):
            world.finish(world.runs[-1], monitors.after(hours=hour, minutes=30))
        yield shown(world.step(monitors.after(hours=hour, minutes=40)))


def monitor_and_back(spec: Json, changed: Json) -> Lives:
    """What it sees unchanged, with a change that stays, and with one that is taken back."""
    lives = ((spec, spec, spec), (spec, changed, changed), (spec, changed, spec))
    before, during, after = (_steadily(_watched(partial(_edited, *specs))) for specs in lives)
    return before, during, after


def _steadily(stages: Iterator[str]) -> Iterator[str]:
    return (steady(json.loads(text)) for text in stages)


def _edited(*specs: Json) -> monitors.World:
    """A Monitor that was at rest with each of these specs in turn."""
    world = _watching(specs[0])
    for number, spec in enumerate(specs):
        world.monitor = {
            **world.monitor,
            "metadata": {**world.monitor["metadata"], "generation": number + 1},
            "spec": copy.deepcopy(spec),
        }
        world.load_rules()
        world.step()
    return world


def _watching(spec: Json) -> monitors.World:
    monitor = monitors.make_monitor()
    monitor["spec"] = copy.deepcopy(spec)
    world = monitors.World(monitor)
    world.load_rules()
    return world


def _fire(world: monitors.World, signal: str, hours: float = 0) -> None:
    world.alert(signal, monitors.after(hours=hours))
    world.verdict(signal, 1.0)
    world.drift(monitors.DRIFTED)


def served_version_stages(spec: Json) -> Iterator[str]:
    """A version as the first of a Deployment, and as the champion that a Monitor trains again."""
    name = f"{spec['modelName']}-v{spec['version']}"
    raw: Json = {
        "apiVersion": contract.API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": name, "namespace": "ml", "uid": "uid-version"},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Valid"}]},
    }
    listed = World(make_deployment(versions=[{"modelVersion": name, "weight": 100}]))
    listed.versions[name] = ModelVersion.model_validate(raw)
    yield from _serves(listed)
    following = World(make_deployment(rollout={"steps": [{"weight": 100}]}))
    following.versions[name] = ModelVersion.model_validate(raw)
    yield from _serves(following)
    watching = _watching(
        {"deployment": "flights", "inputs": {}, "retrain": {"signals": ["InputDrift"]}}
    )
    watching.versions = [
        {**raw, "metadata": {**raw["metadata"], "creationTimestamp": "2026-01-01T12:00:00Z"}}
    ]
    watching.deployment = monitors.make_deployment(name)
    watching.load_rules()
    watching.step()
    watching.alert("InputDrift", monitors.START, version=name)
    watching.verdict("InputDrift", 1.0)
    yield shown(watching.step(monitors.after(minutes=10)))
