"""Drops from objects what nobody here reads, so that a big cluster fits in a small process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everloop import contract

Object = Mapping[str, Any]
_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "labels", "annotations",
    "ownerReferences", "creationTimestamp", "deletionTimestamp", "finalizers",
)  # fmt: skip
_POD_SPEC = ("nodeName", "serviceAccountName")
_CONTAINER = ("name", "image")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def trim(item: Object) -> Object:
    """The object with the metadata we read, only our own entries of managedFields, and for pods
    (of which there are most) names, images and status.

    An object that was trimmed before comes back as it is.
    """
    found = item["metadata"]
    meta = {key: found[key] for key in _METADATA if found.get(key) is not None}
    if _LAST_APPLIED in meta.get("annotations", ()):
        meta["annotations"] = {
            key: value for key, value in meta["annotations"].items() if key != _LAST_APPLIED
        }
    ours = [
        {key: entry[key] for key in ("operation", "fieldsV1") if key in entry}
        | {"manager": contract.FIELD_MANAGER}
        for entry in found.get("managedFields") or ()
        if entry.get("manager") == contract.FIELD_MANAGER and not entry.get("subresource")
    ]
    if ours and item["kind"] != "Pod":
        meta["managedFields"] = ours
    trimmed = {key: value for key, value in item.items() if key != "metadata"} | {"metadata": meta}
    if item["kind"] == "Pod" and "spec" in item:
        trimmed["spec"] = _pod_spec(item["spec"])
    return trimmed


def _pod_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: spec[key] for key in _POD_SPEC if key in spec}
    for group in ("initContainers", "containers"):
        if group in spec:
            kept[group] = [
                {key: one[key] for key in _CONTAINER if key in one} for one in spec[group]
            ]
    return kept
