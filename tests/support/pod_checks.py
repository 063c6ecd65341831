"""What kube-linter and its like look for in a pod, as findings in words. No finding is the aim."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from everloop import contract

Json = dict[str, Any]
HOST = ("hostNetwork", "hostPID", "hostIPC", "hostUsers")
TOKENLESS = "automountServiceAccountToken"
# Containers of ours without a limit of memory, and why.
UNLIMITED = {
    contract.CONTAINER_FETCH: "brings the user's data, of any size; `pod.resources` limits it",
    contract.CONTAINER_PACKAGE: "loads the user's model, of any size; `pod.resources` limits it",
}


def findings(name: str, template: Json, *, kind: str, replicas: int = 1) -> list[str]:
    """Of the pods that an object of this kind makes."""
    spec = template["spec"]
    found = [*_pod(spec), *_containers(spec)]
    if kind == "Deployment":
        found += [*_lasting(spec)]
        if replicas > 1 and "podAntiAffinity" not in (spec.get("affinity") or {}):
            found.append("replicas may share a node: no podAntiAffinity")
    return [f"{name}: {text}" for text in found]


def budget_findings(name: str, budget: Json) -> list[str]:
    """Of a PodDisruptionBudget: a drain takes one replica after the other, and is not stopped."""
    spec, found = budget["spec"], []
    if spec.get("maxUnavailable") != 1:
        found.append("not one replica at a time")
    if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
        found.append("a pod that is not ready stops the drain of its node")
    return [f"{name}: {text}" for text in found]


def all_containers(spec: Json) -> list[Json]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def is_step(container: Json) -> bool:
    """A user's step: in any image, with what the user asks for."""
    return bool(container.get("command", [""])[0] == contract.SHIM)


def _pod(spec: Json) -> Iterator[str]:
    context = spec.get("securityContext") or {}
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "may run as root"
    if (context.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield "no seccomp profile"
    yield from (f"{field} is set" for field in HOST if spec.get(field))
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a hostPath"
    if spec.get(TOKENLESS) is not False:
        yield "a service account token is mounted"


def _containers(spec: Json) -> Iterator[str]:
    for container in all_containers(spec):
        yield from (f"{container['name']}: {text}" for text in _container(container))


def _container(container: Json) -> Iterator[str]:
    context = container.get("securityContext") or {}
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may escalate privileges"
    if (context.get("capabilities") or {}) != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if context.get("privileged") or context.get("runAsUser") == 0:
        yield "is privileged"
    if context.get("readOnlyRootFilesystem") is not True and not is_step(container):
        yield "writes to its root file system"
    if not is_step(container):
        yield from _image(container["image"])
        yield from _resources(container["name"], container.get("resources") or {})
    for port in container.get("ports", []):
        if port["containerPort"] < 1024 or "hostPort" in port:
            yield f"port {port['containerPort']} is privileged or the host's"
    for variable in container.get("env", []):
        named = any(word in variable["name"].upper() for word in ("SECRET", "PASSWORD", "TOKEN"))
        if named and variable.get("value") and not variable["name"].endswith("_FILE"):
            yield f"{variable['name']} may be a secret in plain text"


def _image(image: str) -> Iterator[str]:
    tag = image.rpartition("/")[2].partition(":")[2]
    if "@sha256:" not in image and tag in ("", "latest"):
        yield f"image {image} is not pinned"


def _resources(name: str, resources: Json) -> Iterator[str]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    yield from (f"no request of {what}" for what in ("cpu", "memory") if not requests.get(what))
    if not limits.get("memory") and name not in UNLIMITED:
        yield "no limit of memory"


def _lasting(spec: Json) -> Iterator[str]:
    """What pods need that are to stay."""
    for container in spec["containers"]:
        for probe in ("livenessProbe", "readinessProbe"):
            if probe not in container:
                yield f"{container['name']}: no {probe}"
