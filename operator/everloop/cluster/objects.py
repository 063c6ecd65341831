"""Small readings of Kubernetes objects as dicts, so that each is spelt once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from everloop import contract

Object = Mapping[str, Any]
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Whether an object or a namespace can be called so (RFC 1123): no path, query or line."""
    return _NAME.fullmatch(text) is not None


def metadata(item: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = item.get("metadata") or {}
    return found


def labels(item: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = metadata(item).get("labels") or {}
    return found


def uid(item: Object) -> str:
    return str(metadata(item).get("uid") or "")


def version(item: Object) -> int:
    """The resource version as the number it is: since 1.35 versions of a resource compare."""
    return int(metadata(item).get("resourceVersion") or 0)


def group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def qualified(item: Object) -> str:
    """`Kind.group` as kubectl writes it; just `Kind` in the core group."""
    return qualify(str(item["kind"]), group(str(item["apiVersion"])))


def qualify(kind: str, api_group: str) -> str:
    return f"{kind}.{api_group}" if api_group else kind


def controller(item: Object) -> Mapping[str, Any] | None:
    """The owner reference of the controller, if there is one."""
    for owner in metadata(item).get("ownerReferences") or ():
        if owner.get("controller"):
            reference: Mapping[str, Any] = owner
            return reference
    return None


def managed(item: Object) -> bool:
    """Whether it bears the label that everything we make bears."""
    return labels(item).get(contract.MANAGED_BY) == contract.MANAGED_BY_VALUE


def made_by_us(item: Object) -> bool:
    """Whether we created it or applied to it, by what the API server keeps: labels may be taken."""
    entries = metadata(item).get("managedFields") or ()
    return any(
        entry.get("manager") == contract.FIELD_MANAGER and not entry.get("subresource")
        for entry in entries
    )


def describe(item: Object) -> str:
    """`ConfigMap flights/run-config`, for messages."""
    meta = metadata(item)
    return f"{item.get('kind')} {meta.get('namespace')}/{meta.get('name')}"


def owner_reference(parent: Object) -> dict[str, Any]:
    """What makes `parent` the controller of a child."""
    return {
        "apiVersion": parent["apiVersion"],
        "kind": parent["kind"],
        "name": metadata(parent)["name"],
        "uid": uid(parent),
        "controller": True,
        "blockOwnerDeletion": True,
    }
