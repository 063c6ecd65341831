"""What follows from a Deployment, a Monitor, and a ModelVersion that is served and retrained."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial

import monitors
from deployment_world import World, make_deployment
from field_schema import Json
from field_worlds import Back, shown, steady

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


def deployment_and_back(spec: Json, changed: Json) -> Back:
    """Every story, of one that was at rest before."""
    unchanged, back = _rested(spec, spec, spec), _rested(spec, changed, spec)
    return Back(
        _at_rest(back) == _at_rest(unchanged),
        _lives(unchanged),
        _lives(_rested(spec, changed, changed)),
    )


def _rested(*specs: Json) -> World:
    """A Deployment that was at rest with each of these specs in turn."""
    world = _serving(specs[0])
    _rest(world)
    for spec in specs[1:]:
        world.edit(**copy.deepcopy(spec))
        _rest(world)
    return world


def _at_rest(world: World) -> str:
    return next(_steadily(iter([shown(copy.deepcopy(world).tick())])))


def _lives(began: World) -> Iterator[str]:
    return _steadily(text for story in STORIES for text in story(copy.deepcopy(began)))


def _steadily(stages: Iterator[str]) -> Iterator[str]:
    """Without times; and that there ever was another champion is history, and stays."""
    for text in stages:
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


def monitor_and_back(spec: Json, changed: Json) -> Back:
    """What it sees, after it was at rest."""
    unchanged, back = _edited(spec, spec, spec), _edited(spec, changed, spec)
    before, after = _steadily(shown(world.step()) for world in (unchanged, back))
    return Back(
        after == before,
        _steadily(_watched(partial(_edited, spec, spec, spec))),
        _steadily(_watched(partial(_edited, spec, changed, changed))),
    )


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
