"""Values for a property, from its schema: valid ones, its bounds, and what must be refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from field_schema import QUANTITY, Json, opaque

from everloop.api.base import DNS_LABEL

LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"


class Refused(NamedTuple):
    """A value that must be refused, and words that the refusal must contain."""

    value: Any
    words: str


# What a text of n letters looks like, by what its pattern begins with.
TEXTS: dict[str, Callable[[int], str]] = {
    DNS_LABEL: lambda n: "q" * n,
    "^[A-Za-z_][A-Za-z0-9_.-]*$": lambda n: "Q" * n,
    "^[a-z][a-z0-9+.-]*://.+": lambda n: "s3://q"[:n].ljust(n, "q") if n > 5 else "a://q",
    "^sha256:": lambda _: "sha256:" + "e" * 64,
    "^-?[0-9]+(": lambda n: "7" * n if n < 3 else "0." + "7" * (n - 2),
    "^([0-9]": lambda n: "3m" * (n // 2),
    "^([1-9]": lambda n: "3m" * (n // 2),
}
BROKEN = "§"  # in no pattern
# Where a text is an amount: nothing, less than nothing, hardly anything, more than anybody wants.
EDGES: dict[str, tuple[str, ...]] = {
    "^-?[0-9]+(": ("0", "-1", "1e-300", "-1e199", "1e199"),
    "^([0-9]": ("0s", "1ms", "9999d" * 6),
    "^([1-9]": ("1ms", "9999d" * 6),
}
AMOUNTS = ("0", 0, "1n", "9e18", "9e999")
MOMENTS = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
# Of what looks like an amount of this sort and is none.
BEYOND: dict[str, tuple[str, ...]] = {
    "^-?[0-9]+(": ("1e200", "1e9999", "0x10", "1,5", "NaN", "-"),
    "^([0-9]": ("-1s", "0", "10000d", "1000w", "1.5h", "1y"),
    "^([1-9]": ("0s", "0m", "-1s", "10000d", "1000w", "1h0m"),
}


def text(schema: Json, length: int) -> str:
    """A valid text of this length, or as close to it as its pattern lets it."""
    if schema.get("format") == "date-time":
        return "2031-05-06T07:08:09Z"
    pattern = schema.get("pattern")
    if pattern is None:
        return "q" * length
    return next(make(length) for start, make in TEXTS.items() if pattern.startswith(start))


def others(schema: Json, current: Any) -> Iterator[Any]:
    """Valid values in the middle, each different from the current one."""
    if "enum" in schema:
        yield from (item for item in schema["enum"] if item != current)
        return
    match schema.get("type"):
        case "boolean":
            yield not current
        case "integer":
            value = 3 * current + 2
            yield value if value <= schema.get("maximum", value) else current // 2
        case "string":
            yield text(schema, min(12, schema.get("maxLength", 12)))
        case "array":
            yield _longer(schema, current, len(current) + 1)
        case "object" if opaque(schema):
            yield {**current, "name": "another"}
        case "object" if "additionalProperties" in schema:
            yield _wider(schema, current, len(current) + 1)
        case None if schema.get(QUANTITY):
            yield from ("750m", 3)


def bounds(schema: Json, current: Any) -> Iterator[Any]:
    """The smallest and the largest that is valid."""
    if "enum" in schema:
        return
    match schema.get("type"):
        case "integer":
            yield from (schema[key] for key in ("minimum", "maximum") if key in schema)
        case "string":
            if "format" in schema:
                yield from MOMENTS
                return
            yield text(schema, schema.get("minLength", 0))
            yield text(schema, schema["maxLength"])
            yield from _of_pattern(EDGES, schema)
        case "array":
            yield copy.deepcopy(current[: schema.get("minItems", 0)])
            yield _longer(schema, current, schema["maxItems"])
        case "object" if "additionalProperties" in schema and not opaque(schema):
            yield {}
            yield _wider(schema, current, schema["maxProperties"])
        case None if schema.get(QUANTITY):
            yield from AMOUNTS


def refused(schema: Json, current: Any) -> Iterator[Refused]:
    """What must not be accepted."""
    if "enum" in schema:
        yield Refused("Nonsense", "supported values")
    match schema.get("type"):
        case "boolean":
            yield Refused("yes", "must be of type boolean")
        case "integer":
            yield Refused("many", "must be of type integer")
            if "minimum" in schema:
                yield Refused(schema["minimum"] - 1, "should be greater than or equal to")
            if "maximum" in schema:
                yield Refused(schema["maximum"] + 1, "should be less than or equal to")
        case "string":
            yield from _refused_text(schema)
        case "array":
            yield Refused("one", "must be of type array")
            if schema.get("minItems"):
                yield Refused([], "should have at least")
            yield Refused(_longer(schema, current, schema["maxItems"] + 1), "must have at most")
            if schema.get(LIST_TYPE) in ("map", "set"):
                yield Refused([*current, current[0]], "Duplicate value")
        case "object":
            yield Refused("one", "must be of type object")
            if "additionalProperties" in schema and not opaque(schema):
                most = schema["maxProperties"]
                yield Refused(_wider(schema, current, most + 1), "must have at most")
        case None if schema.get(QUANTITY):
            yield Refused(True, "must be of type")
            yield Refused("lots", "should match")
            yield Refused("-1", "should match")
            yield Refused(-1, "should be greater than or equal to")


def _refused_text(schema: Json) -> Iterator[Refused]:
    yield Refused(7, "must be of type")
    if schema.get("format") == "date-time":
        yield Refused("yesterday", "must be of type date-time")
        return
    if "enum" in schema:
        return
    if schema.get("minLength"):
        yield Refused("", "should be at least")
    yield Refused("q" * (schema["maxLength"] + 1), "Too long")
    if "pattern" in schema:
        yield Refused(BROKEN * max(1, schema.get("minLength", 1)), "should match")
        for value in _of_pattern(BEYOND, schema):
            words = "should match" if len(value) >= schema.get("minLength", 0) else "at least"
            yield Refused(value, words)


def _of_pattern(values: dict[str, tuple[str, ...]], schema: Json) -> Iterator[str]:
    pattern = schema.get("pattern", "")
    return (item for start, items in values.items() if pattern.startswith(start) for item in items)


def _longer(schema: Json, current: list[Any], length: int) -> list[Any]:
    """The list with copies of its first item; where items have a key, each has its own."""
    made = copy.deepcopy(current[:length])
    if schema.get(LIST_TYPE) == "set":
        return [*made, *_new_items(schema["items"], made, length - len(made))]
    keys = schema.get(LIST_KEYS, [])
    for number in range(len(made), length):
        item = copy.deepcopy(current[0])
        for key in keys:
            item[key] = f"{item[key][:30]}-{number}"
        made.append(item)
    return made


def _new_items(schema: Json, known: list[Any], count: int) -> list[Any]:
    """Items that a set does not have yet; of an enum, one too many is Nonsense."""
    new = [item for item in schema.get("enum", ()) if item not in known]
    made_up = "Nonsense{}" if "enum" in schema else "column-{}"
    return [*new, *(made_up.format(number) for number in range(count))][:count]


def _wider(schema: Json, current: Json, size: int) -> Json:
    """The map with further entries like its first."""
    made = dict(list(current.items())[:size])
    value = next(iter(current.values()))
    for number in range(len(made), size):
        made[f"more-{number}"] = copy.deepcopy(value)
    return made
