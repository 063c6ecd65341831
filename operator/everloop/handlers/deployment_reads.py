"""Reads a Deployment's serving objects and its routers' answers into typed facts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from everloop import contract
from everloop.api.json_text import read_object
from everloop.handlers.kind import Object
from everloop.handlers.outside import HttpGetter
from everloop.manifests.router_config import HEALTH_QUERY, HEALTH_SERIES, WEIGHTS
from everloop.manifests.router_routes import WEIGHTS_PATH, parse_weights
from everloop.manifests.server import server_name
from everloop.plans.deployment_modes import parse_time
from everloop.plans.deployment_observed import Router, Server

ANSWER_SECONDS = 1.0  # a router answers in milliseconds, or is on its way out
ASKED = 2  # times: one that was slow once moves no traffic, and must not look as if it did
TROUBLE = 600  # letters of what a container said last; two digests and their places fit
_HEALTHY = re.compile(rf'^{HEALTH_SERIES}\{{envoy_cluster_name="([^"]+)"\}} ([0-9.]+)$', re.M)
_NUMBER = re.compile(r"-v([0-9]+)$")


def read_servers(
    deployments: Iterable[Object], services: Iterable[Object], pods: Iterable[Object]
) -> dict[str, Server]:
    """Serving objects by version; one that lost its Service, or its servers, is there too.

    A copy bears the same labels and the same owner, but not the same name.
    """
    found: dict[str, dict[str, Any]] = {}
    for item in (*deployments, *services):
        labels = item["metadata"].get("labels") or {}
        version = labels.get(contract.LABEL_MODEL_VERSION)
        number = _NUMBER.search(version or "")
        if (
            labels.get(contract.LABEL_COMPONENT) != contract.COMPONENT_SERVER
            or version is None
            or number is None
        ):
            continue
        owner = labels.get(contract.LABEL_DEPLOYMENT, "")
        if item["metadata"]["name"] != server_name(owner, int(number[1])):
            continue
        facts = found.setdefault(version, {"version": version, "number": int(number[1])})
        if item["kind"] == "Service":
            facts["service_uid"] = item["metadata"]["uid"]
        else:
            facts.update(_server(item))
    troubles = _troubles(pods)
    return {
        version: Server(**facts, trouble=troubles.get(version, ""))
        for version, facts in found.items()
    }


def _server(item: Object) -> dict[str, Any]:
    status = item.get("status") or {}
    annotations = item["metadata"].get("annotations") or {}
    retired = annotations.get(contract.ANNOTATION_RETIRED)
    available = next(
        (entry for entry in status.get("conditions") or () if entry["type"] == "Available"), None
    )
    down = available is not None and available["status"] == "False"
    return {
        "uid": item["metadata"]["uid"],
        "ready": int(status.get("readyReplicas") or 0),
        "down_since": parse_time(available["lastTransitionTime"]) if down and available else None,
        "retired_at": _retired(retired) if retired else None,
    }


def _retired(text: str) -> datetime | None:
    """A time that a hand may have edited: what is none says nothing."""
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        return None


def _troubles(pods: Iterable[Object]) -> dict[str, str]:
    """Per version what keeps its newest pod from serving, in its own words."""
    found: dict[str, str] = {}
    for pod in sorted(pods, key=lambda item: str(item["metadata"].get("creationTimestamp"))):
        version = (pod["metadata"].get("labels") or {}).get(contract.LABEL_MODEL_VERSION)
        if version is None or pod["metadata"].get("deletionTimestamp"):
            continue
        text = _trouble(pod.get("status") or {})
        if text:
            found[version] = text
        else:
            found.pop(version, None)
    return found


def _trouble(status: Mapping[str, Any]) -> str:
    for container in status.get("containerStatuses") or ():
        if container.get("ready"):
            continue
        state, last = container.get("state") or {}, container.get("lastState") or {}
        waiting = state.get("waiting") or {}
        ended = state.get("terminated") or last.get("terminated")
        if ended:
            return _last_words(ended)
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']} {waiting.get('message', '')}".strip()[:TROUBLE]
    for entry in status.get("conditions") or ():
        if entry["type"] == "PodScheduled" and entry["status"] == "False":
            return f"{entry.get('reason', '')} {entry.get('message', '')}".strip()[:TROUBLE]
    return ""


def _last_words(ended: Mapping[str, Any]) -> str:
    """Why a container ended: our servers say it as JSON, others in the last lines of their log.

    >>> _last_words({"message": '{"reason": "ArtifactChanged", "message": "other bytes"}'})
    'ArtifactChanged: other bytes'
    >>> _last_words({"reason": "OOMKilled", "exitCode": 137})
    'OOMKilled'
    """
    said = str(ended.get("message") or "").strip()
    ours = read_object(said) or {}
    if "reason" in ours and "message" in ours:
        return f"{ours['reason']}: {ours['message']}"[:TROUBLE]
    words = " ".join(said.split())[-TROUBLE:]
    reason = ended.get("reason") or "Error"
    return f"{reason}: {words}" if words else str(reason)


def read_requested(config: Object | None, owner: Object) -> dict[str, int] | None:
    """The weights in the router's ConfigMap; None if there is none of ours, or a hand broke it."""
    if config is None or not any(
        reference.get("uid") == owner["metadata"]["uid"]
        for reference in config["metadata"].get("ownerReferences") or ()
    ):
        return None
    try:
        return parse_weights((config.get("data") or {}).get(WEIGHTS, ""))
    except ValueError:
        return None


async def read_routers(pods: Iterable[Object], http: HttpGetter) -> tuple[Router, ...]:
    """Live router pods, each asked which weights are in force and which versions it reaches."""
    live = [
        pod
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(contract.LABEL_COMPONENT)
        == contract.COMPONENT_ROUTER
        and not pod["metadata"].get("deletionTimestamp")
        and (pod.get("status") or {}).get("phase") == "Running"
    ]
    routers = await asyncio.gather(*(_router(pod, http) for pod in live))
    return tuple(sorted(routers, key=lambda router: router.name))


async def _router(pod: Object, http: HttpGetter) -> Router:
    metadata, status = pod["metadata"], pod["status"]
    ready = any(
        entry["type"] == "Ready" and entry["status"] == "True"
        for entry in status.get("conditions") or ()
    )
    weights: dict[str, int] | None = None
    healthy: frozenset[str] = frozenset()
    problem = ""
    if ready:
        base = f"http://{_host(status.get('podIP', ''))}:{contract.ROUTER_STATUS_PORT}"
        for _ in range(ASKED):
            try:
                in_force, health = await asyncio.gather(
                    http.get_text(f"{base}{WEIGHTS_PATH}", ANSWER_SECONDS),
                    http.get_text(f"{base}{HEALTH_QUERY}", ANSWER_SECONDS),
                )
                weights = parse_weights(in_force)
                healthy = parse_healthy(health)
            except (OSError, TimeoutError, ValueError) as error:
                problem = str(error) or type(error).__name__
            else:
                problem = ""
                break
    return Router(
        name=metadata["name"],
        uid=metadata["uid"],
        ready=ready,
        synced=(metadata.get("annotations") or {}).get(contract.ANNOTATION_SYNC, ""),
        weights=weights,
        healthy=healthy,
        problem=problem,
    )


def parse_healthy(text: str) -> frozenset[str]:
    """Versions with at least one endpoint that answers, from a router's statistics.

    >>> sorted(parse_healthy('''envoy_cluster_membership_healthy{envoy_cluster_name="m-v1"} 2
    ... envoy_cluster_membership_healthy{envoy_cluster_name="m-v2"} 0'''))
    ['m-v1']
    """
    return frozenset(name for name, value in _HEALTHY.findall(text) if float(value) > 0)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
