"""The plan of a Deployment (mldep): servers, router and weights, one step nearer to the spec.

The order in which things leave is the point: first the weight (read back from the routers), then a
pause for what is in flight, then the servers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from everloop import contract
from everloop.api.conditions import timestamp
from everloop.manifests.budget import build_server_budget
from everloop.manifests.network import build_router_policy, build_server_policy
from everloop.manifests.router import (
    build_client_service,
    build_router,
    build_router_config,
    build_sync_patch,
    config_digest,
)
from everloop.manifests.router_config import Endpoint
from everloop.manifests.scrape import build_pod_monitor
from everloop.manifests.server import (
    build_server,
    build_server_service,
    server_name,
)
from everloop.plans.deployment_modes import Decision, decide
from everloop.plans.deployment_observed import Observed, Server
from everloop.plans.deployment_status import status_and_events
from everloop.plans.history import build_record
from everloop.plans.plan import Child, Deletion, Manifest, Patch, Plan
from everloop.plans.rollout import POLL, WATCH, Traffic
from everloop.plans.traffic import allocate, rescale

POKE = timedelta(seconds=3)
DRAIN = timedelta(seconds=15)  # between the last weight and the end of the servers


@dataclass(frozen=True)
class Retirement:
    """Servers that are no longer wanted."""

    retired: Mapping[str, datetime]  # without traffic since
    gone: tuple[Server, ...]  # long enough: to be deleted
    next_look: datetime | None


def plan(observed: Observed, now: datetime) -> Plan:
    """What should be true now."""
    traffic = observed.traffic
    decision = decide(observed, traffic, now)
    weights = _weights(observed, decision, traffic)
    retirement = _retire(observed, decision, weights, traffic, now)
    endpoints = _endpoints(observed, decision, retirement)
    config = build_router_config(observed.deployment, endpoints, weights)
    status, events, counters = status_and_events(observed, decision, traffic, now)
    records = [build_record(observed.deployment, decision.record)] if decision.record else []
    servers = _servers(observed, decision, retirement)
    return Plan(
        children=(
            *records,  # what was decided is written before it is acted upon
            *_policies(observed),
            *servers,
            Child(config),
            *_router(observed, config),
        ),
        patches=_syncs(observed, decision, weights, config, now),
        deletions=(*_deletions(observed, retirement), *_budgets(observed, servers)),
        status=status,
        events=events,
        counters=counters,
        requeue_at=_next_look(observed, decision, weights, retirement, now),
    )


def _weights(observed: Observed, decision: Decision, traffic: Traffic) -> dict[str, int]:
    """What the routers are asked for now, on the way to the target."""
    known = {*decision.live, *observed.servers}
    asked = observed.requested if observed.requested is not None else traffic.in_force or {}
    current = {name: weight for name, weight in asked.items() if name in known and weight}
    if current:
        current = rescale(current)
    usable = set(traffic.usable)
    if decision.champion is not None and decision.champion in traffic.ready:
        usable.add(decision.champion)  # to come back to it needs no proof
    return allocate(decision.target, current, traffic.ready, usable)


def _retire(
    observed: Observed,
    decision: Decision,
    weights: Mapping[str, int],
    traffic: Traffic,
    now: datetime,
) -> Retirement:
    """Servers without traffic, by what the routers say, that nobody asks for."""
    retired: dict[str, datetime] = {}
    gone = []
    for name, server in observed.servers.items():
        if name in decision.live or weights.get(name):
            continue
        unknown = traffic.in_force is None and bool(observed.routers)
        if unknown or (traffic.in_force or {}).get(name):
            continue
        since = min(server.retired_at or now, now)  # by an annotation, which a hand may edit
        # Servers of a version nobody knows any more cannot be marked: they go at once. Where the
        # servers have gone the Service follows: nothing is made whole that is half deleted.
        if now >= since + DRAIN or observed.served(name) is None or server.uid is None:
            gone.append(server)
        else:
            retired[name] = since
    next_look = min((since + DRAIN for since in retired.values()), default=None)
    return Retirement(retired, tuple(gone), next_look)


def _served_names(observed: Observed, decision: Decision, retirement: Retirement) -> list[str]:
    gone = {server.version for server in retirement.gone}
    names = dict.fromkeys((*decision.live, *sorted(observed.servers)))
    return [name for name in names if name not in gone]


def _endpoints(observed: Observed, decision: Decision, retirement: Retirement) -> list[Endpoint]:
    """Clusters of all versions that are served; those without weight can be pinned."""
    endpoints = []
    for name in sorted(_served_names(observed, decision, retirement)):
        known = observed.served(name) or observed.servers.get(name)
        if known is not None:  # else listed and not registered yet
            host = server_name(observed.deployment.metadata.name, known.number)
            endpoints.append(Endpoint(name, host))
    return endpoints


def _servers(observed: Observed, decision: Decision, retirement: Retirement) -> list[Child]:
    children = []
    for name in _served_names(observed, decision, retirement):
        served = observed.served(name)
        if served is None:
            continue  # not registered yet, or its servers are left as they are
        marks = {}
        if name in retirement.retired:
            marks = {contract.ANNOTATION_RETIRED: timestamp(retirement.retired[name])}
        server = build_server(observed.deployment, served, observed.settings, marks)
        children += [Child(server), Child(build_server_service(observed.deployment, served))]
        budget = build_server_budget(observed.deployment, served)
        children += [Child(budget)] if budget else []
    return children


def _budgets(observed: Observed, servers: list[Child]) -> list[Deletion]:
    """Budgets of servers that are gone, or down to one replica."""
    kept = {
        child.manifest["metadata"]["name"]
        for child in servers
        if child.manifest["kind"] == "PodDisruptionBudget"
    }
    return [Deletion.of(item) for item in observed.budgets if item["metadata"]["name"] not in kept]


def _router(observed: Observed, config: Manifest) -> list[Child]:
    deployment, settings = observed.deployment, observed.settings
    children = [
        Child(build_router(deployment, settings, config["data"])),
        Child(build_client_service(deployment)),
    ]
    if observed.scraped:
        metadata = deployment.metadata
        children.append(Child(build_pod_monitor(metadata.namespace, metadata.name, settings)))
    return children


def _policies(observed: Observed) -> list[Child]:
    """Before the pods they are about."""
    if not observed.settings.network_policies:
        return []
    deployment = observed.deployment
    return [Child(build_server_policy(deployment)), Child(build_router_policy(deployment))]


def _syncs(
    observed: Observed,
    decision: Decision,
    weights: Mapping[str, int],
    config: Manifest,
    now: datetime,
) -> tuple[Patch, ...]:
    """Annotations that make the kubelet look at a router's ConfigMap, and look again.

    The kubelet may look before it has heard of the change, and then not again for a minute: as long
    as a router does not do what it was asked for, it is asked every POKE.
    """
    digest = config_digest(config["data"])
    namespace = observed.deployment.metadata.namespace
    value = f"{digest}.{int(now.timestamp())}"
    wanted = {name for name in decision.live if name in observed.traffic.ready}
    patches = []
    for router in observed.routers:
        known, _, asked = router.synced.partition(".")
        behind = router.weights is not None and (
            router.weights != weights or not wanted <= router.healthy
        )
        since = int(asked) if re.fullmatch(r"[0-9]{1,12}", asked) else 0
        again = behind and now.timestamp() >= since + POKE.total_seconds()
        if known != digest or again:
            patches.append(Patch(build_sync_patch(namespace, router.name, router.uid, value)))
    return tuple(patches)


def _deletions(observed: Observed, retirement: Retirement) -> tuple[Deletion, ...]:
    metadata = observed.deployment.metadata
    deletions = []
    if not observed.settings.network_policies:
        deletions += [Deletion.of(policy) for policy in observed.policies]
    for server in retirement.gone:
        name = server_name(metadata.name, server.number)
        if server.uid:
            deletions.append(
                Deletion("apps/v1", "Deployment", metadata.namespace, name, server.uid)
            )
        if server.service_uid:
            deletions.append(
                Deletion("v1", "Service", metadata.namespace, name, server.service_uid)
            )
    return tuple(deletions)


def _next_look(
    observed: Observed,
    decision: Decision,
    weights: Mapping[str, int],
    retirement: Retirement,
    now: datetime,
) -> datetime | None:
    """When nothing that is watched would say that something changed: routers and the clock."""
    traffic = observed.traffic
    looks = [decision.look_at, retirement.next_look]
    if observed.ready_routers:
        if traffic.in_force is None:
            looks.append(now + WATCH)
        elif traffic.in_force != weights:
            looks.append(now + POLL)
        unreached = {name for name in decision.live if name in traffic.ready} - set(traffic.usable)
        if any(name not in traffic.down_since for name in unreached):
            looks.append(now + 2 * POLL)
    return min((look for look in looks if look is not None), default=None)
