"""docs/reference.md: every field of every kind, from the same schemas as the CRDs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from everloop.api.base import Model, Resource

HEADER = """\
<!-- Generated from operator/everloop/api by `make crds`. Do not edit. -->
# Reference
Every field of the five kinds, group `everloop.dev/v1alpha1`. Numbers that are parameters or metrics
are written as strings (`"0.1"`); durations as `90s`, `10m`, `1h30m`, `7d`. A field marked *immutable*
cannot be added, changed or removed later: make a new object instead.
"""


def render(kinds: dict[type[Resource], dict[str, Any]]) -> str:
    """The page, from each kind's CRD."""
    parts = [HEADER]
    for kind, crd in kinds.items():
        version = crd["spec"]["versions"][0]
        root = version["schema"]["openAPIV3Schema"]
        parts.append(f"\n## {kind.kind_name} (`{kind.short_name}`)\n{root['description']}\n")
        parts.append(f"Names have at most {kind.name_limit} characters.\n")
        for part in ("spec", "status"):
            parts.append(f"\n### {kind.kind_name}.{part}\n")
            parts.append("| field | type | default | what it is |\n|---|---|---|---|\n")
            spec = cast(type[Model], kind.model_fields["spec"].annotation)
            fixed = set(spec.immutable) if part == "spec" else set()
            parts.extend(_rows(root["properties"][part], "", fixed))
        rules = root["properties"]["spec"].get("x-kubernetes-validations", [])
        texts = [rule["message"] for rule in rules if "immutable" not in rule["message"]]
        if texts:
            parts.append("\nAlso checked: " + "; ".join(texts) + ".\n")
    return "".join(parts)


def _rows(schema: dict[str, Any], prefix: str, immutable: set[str]) -> Iterator[str]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        if "type" not in field and "x-kubernetes-preserve-unknown-fields" in field:
            continue  # Kubernetes' own
        path = f"{prefix}{name}"
        text = field.get("description", "").replace("|", "\\|").replace("\n", " ")
        if "enum" in field:
            text += f" One of {', '.join(f'`{item}`' for item in field['enum'])}."
        if not prefix and name in immutable:
            text += " *Immutable.*"
        default = f"`{field['default']}`" if _shown(field.get("default")) else ""
        if name in required and not default:
            default = "required"
        yield f"| `{path}` | {_type(field)} | {default} | {text} |\n"
        if name in ("template", "runSpec"):
            continue  # a TrainingRun.spec, described there
        if name == "conditions":
            continue  # metav1.Condition
        inner = field["items"] if field.get("type") == "array" else field
        yield from _rows(inner, f"{path}{'[]' if inner is not field else ''}.", immutable)


def _shown(default: Any) -> bool:
    return default is not None and not isinstance(default, dict | list)


def _type(field: dict[str, Any]) -> str:
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    values = field.get("additionalProperties", {})
    if values and "x-kubernetes-preserve-unknown-fields" not in values:
        return f"map of {_type(values)}"
    return str(field.get("type", "object"))
