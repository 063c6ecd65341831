"""Walks a CRD's spec: every property with its schema, and where it is in an object.

A property's path is as docs/reference.md writes it: `steps[].name`, `parameters.*`. A place is such
a path in one object, with indices and keys: `("steps", 0, "name")`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
Place = tuple[str | int, ...]
CRDS = Path(__file__).parents[2] / "crds"
QUANTITY = "x-kubernetes-int-or-string"
KEEP_UNKNOWN = "x-kubernetes-preserve-unknown-fields"
ITEM, VALUE = "[]", "*"  # in a path: an item of a list, a value of a map


@dataclass(frozen=True)
class Property:
    """One property of a spec."""

    parts: tuple[str, ...]  # ("steps", "[]", "name")
    schema: Json
    required: bool  # must be written when its parent is

    @property
    def path(self) -> str:
        """As docs/reference.md writes it.

        >>> Property(("steps", "[]", "name"), {}, True).path
        'steps[].name'
        """
        return ".".join(self.parts).replace(f".{ITEM}", ITEM)

    @property
    def field(self) -> str:
        """The field of the spec that it is in."""
        return self.parts[0]


def spec_schemas() -> dict[str, Json]:
    """Kind → schema of its spec, of every CRD."""
    found = {}
    for file in sorted(CRDS.glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())
        (version,) = crd["spec"]["versions"]
        schema = version["schema"]["openAPIV3Schema"]
        found[crd["spec"]["names"]["kind"]] = schema["properties"]["spec"]
    return found


def properties(schema: Json, parts: tuple[str, ...] = ()) -> Iterator[Property]:
    """All properties below a schema, lists' items and maps' values included."""
    required = set(schema.get("required") or ())
    below = {name: (item, name in required) for name, item in _members(schema).items()}
    for name, (item, needed) in below.items():
        yield Property((*parts, name), item, needed)
        yield from properties(item, (*parts, name))


def _members(schema: Json) -> dict[str, Json]:
    named: dict[str, Json] = schema.get("properties") or {}
    # what has no type is Kubernetes' own
    members = {name: item for name, item in named.items() if "type" in item or QUANTITY in item}
    if isinstance(schema.get("items"), dict):
        members[ITEM] = schema["items"]
    if isinstance(schema.get("additionalProperties"), dict) and not opaque(schema):
        members[VALUE] = schema["additionalProperties"]
    return members


def opaque(schema: Json) -> bool:
    """Whether what is in it is not ours to describe: a part of a pod, or a record.

    Some of these name a few of their fields.
    """
    values = schema.get("additionalProperties") or {}
    return bool(schema.get(KEEP_UNKNOWN) or values.get(KEEP_UNKNOWN))


def places(spec: Any, parts: tuple[str, ...], prefix: Place = ()) -> Iterator[Place]:
    """Where a property is in a spec; an absent one is at no place."""
    if not parts:
        yield prefix
        return
    first, rest = parts[0], parts[1:]
    if first == ITEM:
        steps: Any = enumerate(spec) if isinstance(spec, list) else ()
    elif not isinstance(spec, dict):
        steps = ()
    elif first == VALUE:
        steps = spec.items()
    else:
        steps = [(first, spec[first])] if first in spec else []
    for step, value in steps:
        yield from places(value, rest, (*prefix, step))


def value_at(spec: Any, place: Place) -> Any:
    """What is there."""
    for step in place:
        spec = spec[step]
    return spec


def with_value(spec: Json, place: Place, value: Any) -> Json:
    """A copy with another value there."""
    changed = copy.deepcopy(spec)
    parent = value_at(changed, place[:-1])
    parent[place[-1]] = value
    return changed


def without(spec: Json, place: Place) -> Json:
    """A copy with nothing there."""
    changed = copy.deepcopy(spec)
    del value_at(changed, place[:-1])[place[-1]]
    return changed


def written(place: Place) -> str:
    """A place as the API server writes it, below `spec`.

    >>> written(("steps", 0, "name"))
    'spec.steps[0].name'
    """
    return "spec" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
