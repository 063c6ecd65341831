"""What a Deployment's plan sees: typed, so that tests can write it down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from everloop.api.deployment import Deployment
from everloop.api.modelversion import ModelVersion
from everloop.manifests.server import Served
from everloop.plans.history import History
from everloop.plans.rollout import Evidence, Traffic
from everloop.plans.traffic import agree
from everloop.settings import Settings


@dataclass(frozen=True)
class Server:
    """The serving objects of one version, as far as they exist."""

    version: str
    number: int
    uid: str | None = None  # of the apps/Deployment
    service_uid: str | None = None
    ready: int = 0
    down_since: datetime | None = None  # short of ready servers
    retired_at: datetime | None = None  # without traffic, on its way out
    trouble: str = ""  # what its pods say


@dataclass(frozen=True)
class Router:
    """A live router pod, and what it answered."""

    name: str
    uid: str
    ready: bool = True
    synced: str = ""  # digest of the config it was last pointed at, and when (seconds)
    weights: Mapping[str, int] | None = None  # in force; None: no answer
    healthy: frozenset[str] = frozenset()  # versions with an endpoint that answers it
    problem: str = ""  # why there is no answer


@dataclass(frozen=True)
class Observed:
    """One Deployment and everything that bears on it."""

    deployment: Deployment
    settings: Settings
    versions: Mapping[str, ModelVersion] = field(default_factory=dict)  # of its model, and listed
    history: History = field(default_factory=History)
    servers: Mapping[str, Server] = field(default_factory=dict)
    routers: tuple[Router, ...] = ()
    requested: Mapping[str, int] | None = None  # the weights in the router's ConfigMap
    evidence: Evidence = field(default_factory=Evidence)
    scraped: bool = False  # the cluster has PodMonitors
    conditions: tuple[Mapping[str, Any], ...] = ()  # as they are

    policies: tuple[Mapping[str, Any], ...] = ()  # its NetworkPolicies
    budgets: tuple[Mapping[str, Any], ...] = ()  # its PodDisruptionBudgets

    def served(self, version: str) -> Served | None:
        """What is needed to serve a version: from the registry, else from the history."""
        found = self.versions.get(version)
        return Served.of(found) if found is not None else self.history.find(version)

    @property
    def conditions_as_dicts(self) -> list[dict[str, Any]]:
        return [dict(entry) for entry in self.conditions]

    @property
    def ready_routers(self) -> tuple[Router, ...]:
        return tuple(router for router in self.routers if router.ready)

    @property
    def traffic(self) -> Traffic:
        """What is known of servers and routers."""
        routers = self.ready_routers
        wanted = max(self.deployment.spec.runtime.replicas, 1)
        reached = frozenset.intersection(*(router.healthy for router in routers)) if routers else ()
        servers = self.servers.values()
        return Traffic(
            in_force=agree([router.weights for router in routers]),
            ready={server.version for server in servers if server.ready},
            usable={
                server.version
                for server in servers
                if server.ready >= wanted and server.version in reached
            },
            down_since={
                server.version: server.down_since
                for server in servers
                if server.down_since is not None
            },
            trouble={server.version: server.trouble for server in servers if server.trouble},
            router_trouble=next((item.problem for item in self.routers if item.problem), ""),
        )
