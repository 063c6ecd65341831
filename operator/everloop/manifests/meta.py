"""Metadata of every object we make: one place for the labels that the cache watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everloop import contract


def meta(
    name: str,
    namespace: str,
    component: str,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """metadata of a child: name, namespace and our labels; the engine adds the owner.

    Labels and annotations of the parent are not copied: Argo CD would prune the children.
    """
    result: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": {
            contract.MANAGED_BY: contract.MANAGED_BY_VALUE,
            contract.LABEL_COMPONENT: component,
            **(labels or {}),
        },
    }
    if annotations:
        result["annotations"] = dict(annotations)
    return result
