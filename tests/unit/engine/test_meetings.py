"""Names of two objects' children may meet (tests/unit/test_names.py says which ones may).

What comes second is told so and made by nobody: it takes nothing over, and says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from golden import MADE_BY_US
from monitors import RUN_SPEC, after, firing_world, make_version

from everloop import contract, errors
from everloop.api.conditions import find
from everloop.api.deployment import Deployment
from everloop.api.experiment import Experiment
from everloop.api.modelversion import Artifact, ModelVersion
from everloop.api.monitor import Monitor
from everloop.api.trainingrun import TrainingRunSpec
from everloop.cluster.apply import prepare
from everloop.handlers.engine import Engine
from everloop.handlers.kind import Key, Kind
from everloop.handlers.resources import DEPLOYMENTS, EXPERIMENTS
from everloop.manifests.experiment import build_trial
from everloop.manifests.retraining import build_retraining, retraining_name
from everloop.manifests.router import build_client_service
from everloop.manifests.server import Served, build_server_service
from everloop.metrics import Metrics
from everloop.plans.plan import Child, Mode, OnConflict, Plan
from everloop.settings import Settings

Json = dict[str, Any]


def parent(kind: str, name: str, spec: Json) -> Json:
    meta = {"name": name, "namespace": "ml", "uid": f"uid-{name}", "resourceVersion": "1"}
    return {
        "apiVersion": contract.API_VERSION,
        "kind": kind,
        "metadata": {**meta, "generation": 1},
        "spec": spec,
    }


def deployment(name: str) -> Json:
    spec = {"modelName": "flights", "rollout": {"steps": [{"weight": 100}]}}
    return parent("Deployment", name, spec)


def experiment(name: str) -> Json:
    template = {field: RUN_SPEC[field] for field in ("modelName", "steps", "output")}
    spec = {
        "modelName": "flights",
        "objective": {"metric": "auc"},
        "parameters": [{"name": "x", "uniform": {"min": "0", "max": "1"}}],
        "algorithm": {"name": "Random"},
        "trials": 4,
        "template": template,
    }
    return parent("Experiment", name, spec)


def client_service(owner: Json) -> Child:
    return Child(build_client_service(Deployment.model_validate(owner)))


def server_service(owner: Json) -> Child:
    artifact = Artifact(uri="s3://m", digest="sha256:" + "0" * 64)
    served = Served("flights-v1", 1, "flights", artifact)
    return Child(build_server_service(Deployment.model_validate(owner), served))


def trial(owner: Json) -> Child:
    made = build_trial(Experiment.model_validate(owner), 1, {"x": "0.5"})
    return Child(made, mode=Mode.CREATE_ONCE, after=True)


def retraining(owner: Json) -> Child:
    """A Monitor's run, which is not owned by it."""
    made = build_retraining(
        Monitor.model_validate(owner),
        ModelVersion.model_validate(make_version()),
        TrainingRunSpec.model_validate(RUN_SPEC),
        name=retraining_name(owner["metadata"]["name"], 1, 1),
        trigger={"monitor": owner["metadata"]["name"]},
        arrived_after=after(),
    )
    return Child(made, mode=Mode.CREATE_ONCE, owned=False, on_conflict=OnConflict.REPLAN)


PLAIN, VERSIONED = deployment("flights"), deployment("flights-v1")
SEARCH, WATCH = experiment("flights-1"), parent("Monitor", "flights", {"deployment": "flights"})
# Who was first with what, who comes second with what, and how the first is called.
MEETINGS = {
    "an mldep named like a version's servers": (
        PLAIN, server_service(PLAIN), VERSIONED, client_service(VERSIONED), "Deployment flights",
    ),
    "a version's servers named like an mldep": (
        VERSIONED, client_service(VERSIONED), PLAIN, server_service(PLAIN), "Deployment flights-v1",
    ),
    "a trial named like a Monitor's run": (
        WATCH, retraining(WATCH), SEARCH, trial(SEARCH), "another object of Everloop's",
    ),
}  # fmt: skip


@dataclass
class Namespace:
    """A client of a namespace with a parent and what has the name of its child."""

    owner: Json
    taken: Json
    statuses: list[Json] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    asked: int = 0  # how often for the name that is taken
    discovery: Any = field(default_factory=SimpleNamespace)

    async def get(self, _version: str, kind: str, _namespace: str, name: str) -> Json | None:
        found = (self.owner, self.taken)
        return next(
            (item for item in found if (item["kind"], item["metadata"]["name"]) == (kind, name)),
            None,
        )

    async def create(self, manifest: Json) -> Json:
        assert manifest["metadata"]["name"] == self.taken["metadata"]["name"]
        self.asked += 1
        raise errors.AlreadyExists("it is taken")

    async def patch(self, live: Json, _how: str, body: Json, subresource: str = "") -> Json:
        if subresource != "status":
            self.touched.append(live["metadata"]["name"])
            return live
        self.statuses.append(body["status"])
        meta = {**live["metadata"], "resourceVersion": "6"}
        return {**live, "metadata": meta, "status": body["status"]}

    async def delete(self, *name: str, **_options: str) -> None:
        self.touched.append(name[-1])


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("meeting", MEETINGS)
async def test_what_comes_second_says_so_and_takes_nothing_over(meeting: str, known: bool) -> None:
    """Whether the cache has seen the first one's or not."""
    first, firsts, second, seconds, whose = MEETINGS[meeting]
    live = prepare(first, firsts)
    live["metadata"] |= {"uid": "uid-live", "resourceVersion": "3", "managedFields": MADE_BY_US}
    client = Namespace(second, live)

    async def observe(*_: Any) -> None:
        """What is planned is given."""

    def plan(*_: Any) -> Plan:
        return Plan(children=(seconds,), status={"phase": "Made"}, unmade={"phase": "Pending"})

    resource = DEPLOYMENTS if second["kind"] == "Deployment" else EXPERIMENTS
    kind: Kind[None] = Kind(resource, (), lambda _: (), observe, plan)
    engine = Engine([kind], Settings(), client, Metrics(), lambda _: None)  # type: ignore[arg-type]
    engine.view.put(second)
    if known:
        engine.view.put(live)
    await engine._reconciler._once(Key(second["kind"], "ml", second["metadata"]["name"]))
    assert (client.touched, client.asked) == ([], 0 if known else 1)
    (status,) = client.statuses
    assert status["phase"] == "Pending"
    stalled, ready = find(status, contract.STALLED), find(status, contract.READY)
    assert stalled is not None
    assert ready is not None
    assert (stalled["status"], ready["status"]) == ("True", "False")
    name = live["metadata"]["name"]
    for told in (stalled, ready):
        assert told["reason"] == contract.REASON_NAME_CONFLICT
        assert told["message"] == (
            f"{live['kind']} ml/{name} exists and belongs to {whose}; it is left alone. "
            f"Delete or rename it, or use another name for this {second['kind']}."
        )


def stray_trial() -> Json:
    """A trial with the name of the first run of the Monitor flights-watch."""
    search = experiment("flights-watch-1")
    made = prepare(search, trial(search))
    made["metadata"] |= {
        "uid": "uid-trial",
        "creationTimestamp": f"{after(seconds=1):%FT%TZ}",
        "managedFields": MADE_BY_US,
    }
    assert made["metadata"]["name"] == retraining_name("flights-watch", 1, 1)
    return made


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "unseen"])
def test_a_trial_with_the_name_of_a_run_that_was_deleted_is_not_the_monitors(seen: bool) -> None:
    """Its record says that there was one: the cooldown counts, and then it trains again."""
    world = firing_world()
    world.step(after(seconds=1))
    _, record = world.made
    made = stray_trial()
    world.made = [record, made]
    world.hidden = set() if seen else {made["metadata"]["name"]}
    world.step(after(minutes=30))
    assert world.refusals() == {"Cooldown": 1}
    world.step(after(hours=2))
    assert world.status["lastRetrain"]["run"] == "flights-watch-1-2"


def test_a_monitor_passes_over_the_name_of_a_trial() -> None:
    """Its own is the next number; the trial neither meets its need nor is counted."""
    world = firing_world()
    made = stray_trial()
    name = made["metadata"]["name"]
    world.made.append(made)
    before = dict(made)
    world.step(after(seconds=2))
    world.step(after(seconds=3))
    assert [run["metadata"]["name"] for run in world.runs] == [name, "flights-watch-1-2"]
    assert world.status["lastRetrain"]["run"] == "flights-watch-1-2"
    assert world.refusals() == {}
    assert made == before
