"""A small cluster for plans of a Deployment: plans are carried out on it, and time passes.

Servers become ready, routers take over weights and requests are answered when a test says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from everloop import contract
from everloop.api.deployment import Deployment
from everloop.api.modelversion import ModelVersion
from everloop.manifests.router_config import WEIGHTS
from everloop.manifests.router_routes import parse_weights
from everloop.plans.analysis import Stratum
from everloop.plans.deployment import plan
from everloop.plans.deployment_modes import parse_time
from everloop.plans.deployment_observed import Observed, Router, Server
from everloop.plans.history import read_history
from everloop.plans.plan import Plan
from everloop.plans.rollout import Evidence
from everloop.settings import Settings
from everloop.statistics.score import Counts

START = datetime(2026, 1, 1, tzinfo=UTC)
ROLLOUT: dict[str, Any] = {
    "steps": [{"weight": 10}, {"analysis": {}}, {"weight": 50}, {"pause": {"duration": "10m"}}],
    "analysis": {"minSamples": 100, "metrics": [{"max": "0.05"}]},
}


def make_deployment(generation: int = 1, **spec: Any) -> Deployment:
    """A Deployment `flights` in namespace `ml`."""
    return Deployment.model_validate(
        {
            "kind": "Deployment",
            "metadata": {
                "name": "flights",
                "namespace": "ml",
                "uid": "uid-flights",
                "generation": generation,
            },
            "spec": {"modelName": "flights", **spec},
        }
    )


def make_version(
    number: int, model: str = "flights", verdict: str = "Pass", **metadata: Any
) -> ModelVersion:
    """A registered version whose gate ended so."""
    return ModelVersion.model_validate(
        {
            "kind": "ModelVersion",
            "metadata": {"name": f"{model}-v{number}", "namespace": "ml", **metadata},
            "spec": {
                "modelName": model,
                "version": number,
                "artifact": {
                    "uri": f"s3://models/{model}/{number}",
                    "digest": f"sha256:{number:064x}",
                },
                "evaluation": {"gates": [{"metric": "val_auc", "kind": "Min", "verdict": verdict}]},
            },
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Valid"}]},
        }
    )


@dataclass
class World:
    """A Deployment, its versions and what exists of its serving objects."""

    deployment: Deployment
    versions: dict[str, ModelVersion] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    routers: dict[str, Router] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    requested: dict[str, int] | None = None
    answered: dict[str, Counts] = field(default_factory=dict)  # since the step began
    problem: str = ""
    prometheus: bool = True
    settings: Settings = field(default_factory=Settings)
    now: datetime = START
    conditions: list[dict[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    hide_new_records: bool = False  # the cache is behind
    _hidden: list[dict[str, Any]] = field(default_factory=list)

    # --- what happens -----------------------------------------------------------------------------
    def register(self, *numbers: int, **fields: Any) -> None:
        for number in numbers:
            version = make_version(number, **fields)
            self.versions[version.metadata.name] = version

    def start_routers(self, count: int = 1) -> None:
        for index in range(count):
            name = f"router-{index}"
            self.routers[name] = Router(name, f"uid-{name}", weights=dict(self.requested or {}))
        self.reach()

    def reach(self) -> None:
        """Routers find every version that has a ready server."""
        healthy = frozenset(server.version for server in self.servers.values() if server.ready)
        self.routers = {
            name: replace(router, healthy=healthy) for name, router in self.routers.items()
        }

    def ready(self, *versions: str, replicas: int | None = None) -> None:
        count = self.deployment.spec.runtime.replicas if replicas is None else replicas
        for version in versions:
            self.servers[version] = replace(
                self.servers[version], ready=count, down_since=None, trouble=""
            )
        self.reach()

    def crash(self, version: str, said: str = "CrashLoopBackOff") -> None:
        self.servers[version] = replace(
            self.servers[version], ready=0, down_since=self.now, trouble=said
        )
        self.reach()

    def sync(self) -> None:
        """Routers take over the weights they were asked for."""
        self.routers = {
            name: replace(router, weights=dict(self.requested or {}))
            for name, router in self.routers.items()
        }

    def answer(self, version: str, total: int, failed: int = 0) -> None:
        self.answered[version] = Counts(total, failed)

    def edit(self, **spec: Any) -> None:
        """Someone writes another spec."""
        deployment = make_deployment(self.deployment.metadata.generation + 1, **spec)
        self.deployment = deployment.model_copy(update={"status": self.deployment.status})

    def lose_status(self) -> None:
        fresh = make_deployment(
            self.deployment.metadata.generation, **self.deployment.spec.to_dict()
        )
        self.deployment = fresh
        self.conditions = []

    def show_records(self) -> None:
        self.records += self._hidden
        self._hidden = []

    # --- a pass -----------------------------------------------------------------------------------
    def observed(self) -> Observed:
        status = self.deployment.status
        evidence = Evidence(problem=self.problem)
        if not self.prometheus:
            evidence = Evidence(problem="no Prometheus", lasting=True)
        elif not self.problem and status.challenger and status.champion and status.step_started:
            nothing = Counts(0, 0)
            evidence = Evidence(
                Stratum(
                    self.answered.get(status.challenger, nothing),
                    self.answered.get(status.champion, nothing),
                )
            )
        return Observed(
            deployment=self.deployment,
            settings=self.settings,
            versions=self.versions,
            history=read_history(self.deployment.metadata.name, self.records),
            servers=self.servers,
            routers=tuple(self.routers.values()),
            requested=self.requested,
            evidence=evidence,
            conditions=tuple(self.conditions),
        )

    def tick(self, **elapsed: float) -> Plan:
        """Time passes, then one pass is planned and carried out."""
        self.now += timedelta(**elapsed)
        step = (self.deployment.status.challenger, self.deployment.status.step)
        made = plan(self.observed(), self.now)
        self._carry_out(made)
        if (self.deployment.status.challenger, self.deployment.status.step) != step:
            self.answered = {}
        return made

    def run(self, passes: int = 6, **elapsed: float) -> None:
        """Passes with routers that follow at once."""
        for _ in range(passes):
            self.sync()
            self.tick(**elapsed)
        self.sync()

    def _carry_out(self, made: Plan) -> None:
        for child in made.children:
            self._apply(child.manifest)
        for deletion in made.deletions:
            for name, server in list(self.servers.items()):
                if deletion.uid == server.uid:
                    del self.servers[name]
        self.events += [f"{event.reason}: {event.message}" for event in made.events]
        assert made.status is not None
        self.conditions = made.status["conditions"]
        self.deployment = Deployment.model_validate(
            {**self.deployment.to_dict(), "status": made.status}
        )

    def _apply(self, manifest: dict[str, Any]) -> None:
        kind, metadata = manifest["kind"], manifest["metadata"]
        if kind == "ControllerRevision":
            where = self._hidden if self.hide_new_records else self.records
            if metadata["name"] not in {item["metadata"]["name"] for item in self.records + where}:
                where.append(manifest)
        elif kind == "ConfigMap":
            self.requested = parse_weights(manifest["data"][WEIGHTS])
        elif kind == "Deployment" and contract.LABEL_MODEL_VERSION in metadata["labels"]:
            version = metadata["labels"][contract.LABEL_MODEL_VERSION]
            retired = (metadata.get("annotations") or {}).get(contract.ANNOTATION_RETIRED)
            server = self.servers.get(version) or Server(
                version, int(version.rpartition("-v")[2]), f"uid-{version}", f"uid-svc-{version}",
                down_since=self.now,
            )  # fmt: skip
            self.servers[version] = replace(
                server, retired_at=parse_time(retired) if retired else None
            )

    # --- what tests ask ---------------------------------------------------------------------------
    @property
    def status(self) -> Any:
        return self.deployment.status

    @property
    def weights(self) -> dict[str, int]:
        return dict(self.requested or {})

    def condition(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self.conditions if entry["type"] == name)


def rolling(**fields: Any) -> World:
    """A Deployment that follows its model, with flights-v1 as champion."""
    world = World(make_deployment(rollout=ROLLOUT, **fields.pop("spec", {})), **fields)
    world.register(1)
    world.tick()
    world.start_routers()
    world.ready("flights-v1")
    world.run(4)
    assert world.status.champion == "flights-v1"
    world.events.clear()
    return world
