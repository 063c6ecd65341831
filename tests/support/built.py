"""Everything that builders make, as the golden cases plan it, and the pods in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from golden import ROOT

from everloop import contract

Json = dict[str, Any]
CASES = sorted(ROOT.glob("*/*/children.yaml"))


def case_name(file: Path) -> str:
    """`deployment-first-version`."""
    return f"{file.parent.parent.name}-{file.parent.name}"


def planned(file: Path) -> list[Json]:
    """The children of a case: mode, ownership and manifest of each."""
    found: list[Json] = (yaml.safe_load(file.read_text()) or {}).get("children", [])
    return found


def manifests(file: Path) -> list[Json]:
    """The manifests of a case's children."""
    return [child["manifest"] for child in planned(file)]


def pod_templates(objects: list[Json]) -> Iterator[tuple[str, Json]]:
    """(kind/name of the object, template) of every object that makes pods."""
    for item in objects:
        template = (item.get("spec") or {}).get("template")
        if item["kind"] in ("Deployment", "Job") and "containers" in (template or {}).get(
            "spec", {}
        ):
            yield f"{item['kind']}/{item['metadata']['name']}", template


def pods(objects: list[Json], component: str) -> list[Json]:
    """Labels of the pods of a component."""
    labels = [template["metadata"]["labels"] for _, template in pod_templates(objects)]
    return [item for item in labels if item[contract.LABEL_COMPONENT] == component]
