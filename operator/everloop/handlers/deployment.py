"""Deployment (mldep): what it observes. What follows from it is plans/deployment.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from everloop import contract
from everloop.api.deployment import Deployment
from everloop.api.modelversion import ModelVersion
from everloop.cluster import objects
from everloop.handlers.deployment_reads import (
    read_requested,
    read_routers,
    read_servers,
)
from everloop.handlers.kind import Kind, Object, Ref, Resource, View
from everloop.handlers.outside import Outside
from everloop.handlers.owned import own
from everloop.handlers.resources import (
    APPS_DEPLOYMENTS,
    BUDGETS,
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    MODEL_VERSIONS,
    NETWORK_POLICIES,
    POD_MONITORS,
    PODS,
    SERVICES,
)
from everloop.manifests.router import router_name
from everloop.manifests.server import server_name
from everloop.plans.analysis import Stratum, count
from everloop.plans.clock import Clock
from everloop.plans.deployment import plan
from everloop.plans.deployment_modes import parse_time
from everloop.plans.deployment_observed import Observed
from everloop.plans.history import History, read_history
from everloop.plans.rollout import Evidence, weight_at
from everloop.prometheus.client import PrometheusReader, PrometheusUnavailable, Sample
from everloop.prometheus.rollout_queries import answers


def references(deployment: Object) -> Iterable[Ref]:
    """All versions of its model, registered or not yet, and each that it lists."""
    namespace, spec = deployment["metadata"]["namespace"], deployment["spec"]
    yield Ref("ModelVersion", namespace, model=spec["modelName"])
    for entry in spec.get("versions") or ():
        yield Ref("ModelVersion", namespace, name=entry["modelVersion"])


async def observe(item: Object, view: View, outside: Outside) -> Observed:
    """Servers, routers and history from the cache; weights in force and counts from outside."""
    deployment = Deployment.model_validate(item)
    name, namespace = deployment.metadata.name, deployment.metadata.namespace
    labels = {contract.LABEL_DEPLOYMENT: name}
    late, routers, evidence, scraped = await asyncio.gather(
        _late_challenger(item, deployment, view, outside),
        read_routers(view.list("Pod", namespace, labels), outside.http),
        _evidence(deployment, outside),
        outside.kube.serves(POD_MONITORS.api_version, POD_MONITORS.kind),
    )
    asked: dict[tuple[Resource, str], Object | None] = {}
    while places := _doubtful(item, view) - asked.keys():  # watches go on telling meanwhile
        for resource, place in places:
            asked[resource, place] = await _read(outside, namespace, resource, place)
    unseen = [live for live in asked.values() if live is not None]
    # Nothing is awaited from here on: all that is read of the cache is of one moment.
    servers = [
        late if late is not None and objects.uid(late) == objects.uid(server) else server
        for server in view.children("Deployment.apps", item)
    ]
    known = {objects.uid(server) for server in servers}
    servers += [
        found
        for found in unseen
        if own(item, found) is not None and objects.uid(found) not in known
    ]
    return Observed(
        deployment=deployment,
        settings=outside.settings,
        versions=_versions(deployment, view, unseen),
        history=_history(item, view),
        servers=read_servers(
            servers, view.children("Service", item), view.list("Pod", namespace, labels)
        ),
        routers=routers,
        requested=read_requested(view.get("ConfigMap", namespace, router_name(name)), item),
        evidence=evidence,
        scraped=scraped,
        budgets=tuple(view.children(BUDGETS.kind, item)),
        policies=tuple(view.children(NETWORK_POLICIES.kind, item)),
        conditions=tuple((item.get("status") or {}).get("conditions") or ()),
    )


async def _late_challenger(
    item: Object, deployment: Deployment, view: View, outside: Outside
) -> Object | None:
    """The servers of a challenger that seems late, as they are now.

    It would be rejected for good, and where a watch is behind it may have been ready for long.
    """
    challenger, rollout = deployment.status.challenger, deployment.spec.rollout
    servers = read_servers(view.children("Deployment.apps", item), (), ())
    late = servers.get(challenger or "")
    if late is None or late.down_since is None or rollout is None:
        return None
    if datetime.now(UTC) < late.down_since + Clock.real(rollout.ready_deadline):
        return None
    name, namespace = deployment.metadata.name, deployment.metadata.namespace
    return await outside.kube.get(
        APPS_DEPLOYMENTS.api_version, "Deployment", namespace, server_name(name, late.number)
    )


def _doubtful(item: Object, view: View) -> set[tuple[Resource, str]]:
    """Servers, and versions, that are not known though something that belongs to them is.

    What is left of servers, and servers of a version that nobody knows, go at once. But watches do
    not wait for each other, and a list may be old: they may be those of a challenger.
    """
    name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
    deployments = view.children("Deployment.apps", item)
    servers = read_servers(deployments, view.children("Service", item), ()).values()
    parts = {
        (APPS_DEPLOYMENTS, server_name(name, server.number))
        for server in servers
        if server.uid is None
    }
    unknown = {
        server.version
        for server in servers
        if view.get("ModelVersion", namespace, server.version) is None
    }
    if not unknown:
        return parts  # without all of the history
    history = _history(item, view)
    return parts | {(MODEL_VERSIONS, each) for each in unknown if history.find(each) is None}


async def _read(outside: Outside, namespace: str, resource: Resource, name: str) -> Object | None:
    live = await outside.kube.get(resource.api_version, resource.kind, namespace, name)
    gone = live is not None and objects.metadata(live).get("deletionTimestamp")
    return None if gone else live


def _history(item: Object, view: View) -> History:
    name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
    labels = {
        contract.LABEL_DEPLOYMENT: name,
        contract.LABEL_COMPONENT: contract.COMPONENT_HISTORY,
    }
    return read_history(name, view.list(CONTROLLER_REVISIONS.kind, namespace, labels))


def _versions(
    deployment: Deployment, view: View, unseen: Iterable[Object]
) -> dict[str, ModelVersion]:
    """Of its model, and those it lists: a wrong one must be seen to be refused."""
    namespace = deployment.metadata.namespace
    listed = (
        view.get("ModelVersion", namespace, entry.model_version)
        for entry in deployment.spec.versions or ()
    )
    of_model = view.list("ModelVersion", namespace, model=deployment.spec.model_name)
    return {
        item["metadata"]["name"]: ModelVersion.model_validate(item)
        for item in (*of_model, *listed, *_of_model(deployment, unseen))
        if item is not None
    }


def _of_model(deployment: Deployment, items: Iterable[Object]) -> list[Object]:
    return [
        item
        for item in items
        if item["kind"] == MODEL_VERSIONS.kind
        and item["spec"]["modelName"] == deployment.spec.model_name
    ]


def _analysing(deployment: Deployment) -> bool:
    """Whether the step under way is an analysis."""
    step, rollout = deployment.status.step, deployment.spec.rollout
    return (
        rollout is not None
        and step is not None
        and step < len(rollout.steps)
        and rollout.steps[step].analysis is not None
    )


async def _evidence(deployment: Deployment, outside: Outside) -> Evidence:
    """What was answered since the analysis step under way began; nothing in any other step."""
    status = deployment.status
    if not _analysing(deployment):
        return Evidence()
    if outside.prometheus is None:
        problem = "no Prometheus is configured (chart value prometheus.url), nothing can be judged"
        return Evidence(problem=problem, lasting=True)
    if status.step_started is None or status.challenger is None or status.champion is None:
        return Evidence()
    try:
        return Evidence(await _stratum(deployment, outside, outside.prometheus))
    except PrometheusUnavailable as error:
        return Evidence(problem=str(error))


async def _stratum(
    deployment: Deployment, outside: Outside, prometheus: PrometheusReader
) -> Stratum | None:
    """Answers of challenger and champion in the step under way.

    Where the challenger has all the traffic, the champion's are those of the time before the step:
    there is nothing else to hold the challenger's against.
    """
    status, metadata, settings = deployment.status, deployment.metadata, outside.settings
    rollout = deployment.spec.rollout
    assert rollout is not None
    assert status.step is not None
    assert status.step_started is not None
    began = parse_time(status.step_started)
    scrape = settings.scrape_interval_seconds

    async def answered(since: datetime, until: datetime) -> dict[tuple[str, str], float]:
        query = answers(
            metadata.namespace,
            metadata.name,
            since=since.timestamp(),
            now=until.timestamp(),
            scrape_seconds=scrape,
        )
        return by_version(await prometheus.query(query, until)) if query else {}

    found = await answered(began, datetime.now(UTC))
    challenger = count(found, status.challenger or "")
    if weight_at(rollout.steps, status.step) == 100:
        before = timedelta(seconds=max(3600 / settings.clock_speedup, 300 * scrape))
        found = await answered(began - before, began)
    return Stratum(challenger, count(found, status.champion or ""))


def by_version(samples: Iterable[Sample]) -> dict[tuple[str, str], float]:
    """Answers by version and class of status codes."""
    return {
        (
            sample.labels.get("envoy_cluster_name", ""),
            sample.labels.get("envoy_response_code_class", ""),
        ): sample.value
        for sample in samples
    }


KIND = Kind(
    resource=DEPLOYMENTS,
    children=(
        APPS_DEPLOYMENTS,
        SERVICES,
        CONFIG_MAPS,
        PODS,
        CONTROLLER_REVISIONS,
        POD_MONITORS,
        NETWORK_POLICIES,
        BUDGETS,
    ),
    references=references,
    observe=observe,
    plan=plan,
    watched_for=(MODEL_VERSIONS,),
)
