"""Drops from objects what nobody here reads, so that a big cluster fits in a small process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from everloop import contract

Object = Mapping[str, Any]
_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "labels", "annotations",
    "ownerReferences", "creationTimestamp", "deletionTimestamp", "finalizers",
)  # fmt: skip
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Created once and never compared: of a Job what can be changed, and limits for messages.
_JOB_SPEC = ("suspend", "activeDeadlineSeconds")
_POD_SPEC = ("nodeName", "serviceAccountName")
_POD_STATUS = (
    "phase", "reason", "message", "conditions", "startTime", "podIP",
    "initContainerStatuses", "containerStatuses",
)  # fmt: skip
_STATUS_OF_CONTAINER = ("name", "state", "lastState", "imageID", "restartCount", "ready")


def trim(item: Object) -> Object:
    """The object with the metadata we read and our own entries of managedFields; of Jobs and pods,
    of which there are most, what their readers need.
    """
    found = item["metadata"]
    meta = {key: found[key] for key in _METADATA if found.get(key) is not None}
    if _LAST_APPLIED in meta.get("annotations", ()):
        meta["annotations"] = _without(meta["annotations"], _LAST_APPLIED)
    ours = [
        _entry(entry, item["kind"])
        for entry in found.get("managedFields") or ()
        if entry.get("manager") == contract.FIELD_MANAGER and not entry.get("subresource")
    ]
    if ours and item["kind"] != "Pod":
        meta["managedFields"] = ours
    trimmed = {key: value for key, value in item.items() if key != "metadata"} | {"metadata": meta}
    if item["kind"] == "Pod":
        trimmed |= {"spec": _pod_spec(item.get("spec") or {}), "status": _pod_status(item)}
    elif item["kind"] == "Job":
        trimmed["spec"] = _job_spec(item.get("spec") or {})
    return trimmed


def share(value: Any) -> Any:
    """Of JSON, with its strings interned: it brings the same keys and words again and again."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {sys.intern(key): share(item) for key, item in value.items()}
    if isinstance(value, list):
        return [share(item) for item in value]
    return value


def _entry(entry: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Who manages fields, and which; those of Jobs, by far the longest, are never compared."""
    known = {"manager": contract.FIELD_MANAGER, "operation": entry.get("operation", "")}
    return known if kind == "Job" else known | {"fieldsV1": entry.get("fieldsV1") or {}}


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _pick(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: values[key] for key in keys if key in values}


def _pod_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    return _pick(spec, _POD_SPEC) | _containers(spec, ("name", "image"))


def _pod_status(pod: Object) -> dict[str, Any]:
    status = _pick(pod.get("status") or {}, _POD_STATUS)
    for group in ("initContainerStatuses", "containerStatuses"):
        if group in status:
            status[group] = [_pick(one, _STATUS_OF_CONTAINER) for one in status[group]]
    return status


def _job_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    pods = (spec.get("template") or {}).get("spec") or {}
    template = {"spec": _containers(pods, ("name", "resources"))}
    return _pick(spec, _JOB_SPEC) | {"template": template}


def _containers(spec: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {
        group: [_pick(one, keys) for one in spec[group]]
        for group in ("initContainers", "containers")
        if group in spec
    }
