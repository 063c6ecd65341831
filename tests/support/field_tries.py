"""Tries every property of a kind: what is refused, what is taken, what it changes.

The API server decides what is valid (dry runs of a creation: nothing is stored); what follows is
planned from the object as the server returned it, defaults and all. Whether the children that come
of a change can be made, the API server says, too: asked as the operator asks it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import field_values
from field_exceptions import reason
from field_objects import IN_SEED, OTHERS, SENSELESS, make
from field_schema import (
    Json,
    Place,
    Property,
    opaque,
    places,
    properties,
    value_at,
    with_value,
    without,
    written,
)
from field_seeds import SEEDS
from field_server import DryRun
from field_worlds import children
from kube import Kube

from everloop import contract

SLIP = "nonsense"  # a field that nobody knows
IMMUTABLE = re.compile("(.*) (?:is|are) immutable; ")

Stages = Callable[[Json], Iterator[str]]


@dataclass(frozen=True)
class Seed:
    """Where a property is tried."""

    name: str
    spec: Json
    place: Place


@dataclass
class Findings:
    """What was seen of a kind's properties, by path."""

    shown: set[str] = field(default_factory=set)  # another value has another effect
    hidden: dict[str, str] = field(default_factory=dict)  # a value is taken, and nothing changes
    refused: dict[str, str] = field(default_factory=dict)  # Kubernetes takes no child of a value
    problems: list[str] = field(default_factory=list)  # bad values taken, good ones refused
    other: dict[str, tuple[Seed, Json]] = field(default_factory=dict)  # one spec that is taken
    taken: dict[str, list[tuple[Seed, Json]]] = field(default_factory=dict)  # each that is
    turned_down: dict[str, int] = field(default_factory=dict)  # how many values are not, clearly


class Fields:
    """The properties of one kind on one API server."""

    def __init__(self, kube: Kube, kind: str, schema: Json, namespace: str, stages: Stages) -> None:
        self.kind, self.schema, self.stages = kind, schema, stages
        self.server = DryRun(kube, kind, namespace)
        self.rules = list(_messages(schema))
        self.seeds = SEEDS[kind]
        self.immutable = {
            name
            for rule in self.rules
            if (named := IMMUTABLE.match(rule))
            for name in named[1].split(", ")
        }
        self.all = list(properties(schema))
        self.found = Findings()
        self._base: dict[str, tuple[Json, list[str]]] = {}
        self._refusals: dict[str, str] = {}  # of children, by their text

    def seed(self, item: Property) -> Seed:
        """The seed for a property, and where in it the property is."""
        wanted = IN_SEED.get((self.kind, item.path))
        for name, spec in self.seeds.items():
            if wanted in (None, name):
                for place in places(spec, item.parts):
                    return Seed(name, spec, place)
        raise AssertionError(f"{self.kind}: {item.path} is in no object of field_seeds.py")

    def base(self, seed: Seed) -> tuple[Json, list[str]]:
        """The seed as it is stored, and what follows from it."""
        if seed.name not in self._base:
            stored, refusal = self.server.create(seed.spec)
            assert stored is not None, f"{self.kind} {seed.name}: {refusal}"
            before = list(self.stages(copy.deepcopy(stored)))
            refused = [text for stage in before for text in self._refused(stage)]
            assert not refused, f"{self.kind} {seed.name}: {refused}"
            self._base[seed.name] = (stored, before)
        return self._base[seed.name]

    def changed(self, item: Property, seed: Seed) -> Iterator[Json]:
        """Specs in which the property is another, at its bounds, or absent."""
        current = value_at(seed.spec, seed.place)
        middle = OTHERS.get((self.kind, item.path), field_values.others(item.schema, current))
        for value in (*middle, *field_values.bounds(item.schema, current)):
            if value != current:
                yield with_value(seed.spec, seed.place, value)
        if not item.required and isinstance(seed.place[-1], str):
            yield without(seed.spec, seed.place)

    def refusals(self, item: Property, seed: Seed) -> Iterator[str]:
        """For each bad value what is wrong with how it is met; empty if nothing."""
        current = value_at(seed.spec, seed.place)
        where = written(seed.place)
        for bad in field_values.refused(item.schema, current):
            _, refusal = self.server.create(with_value(seed.spec, seed.place, bad.value))
            yield self._unclear(refusal, where, bad.words, str(bad.value)[:40])
        values, words = SENSELESS.get((self.kind, item.path), ((), ""))
        for value in values:  # a rule is told at the object that it is about
            _, refusal = self.server.create(with_value(seed.spec, seed.place, value))
            yield self._unclear(refusal, written(seed.place[:-1]), words, value)
        if item.required and isinstance(seed.place[-1], str):
            _, refusal = self.server.create(without(seed.spec, seed.place))
            yield self._unclear(refusal, where, "Required value", "nothing")
        if opaque(item.schema):
            yield from self._slips(seed, current)
        elif item.schema.get("type") == "object" and "additionalProperties" not in item.schema:
            spec = with_value(seed.spec, seed.place, {**current, SLIP: "x"})
            _, refusal = self.server.create(spec)
            yield self._unclear(refusal, f"{where}.{SLIP}", "unknown field", "a slip")

    def _slips(self, seed: Seed, current: Json) -> Iterator[str]:
        """Where the fields are those of Kubernetes, a slip is refused with what is made of it.

        A run of ours takes it as its Experiment does, and is refused its Job.
        """
        spec = with_value(seed.spec, seed.place, {**current, SLIP: "x"})
        stored, refusal = self.server.create(spec)
        where = written(seed.place)
        if stored is None:
            yield f"{where}: a slip: {refusal[:400]}"
            return
        _, before = self.base(seed)
        for manifest in children(first_other(before, self.stages(stored)) or ""):
            ours = manifest["apiVersion"] == contract.API_VERSION
            if SLIP in str(manifest) and not ours and SLIP not in self._refusal(manifest):
                yield f"{where}: a slip is dropped in silence"

    def _unclear(self, refusal: str, where: str, words: str, what: str) -> str:
        if not refusal:
            return f"{where}: {what} is taken"
        if where not in refusal or words.lower() not in refusal.lower():
            return f"{where}: {what}: no word of {where} and {words!r} in: {refusal[:400]}"
        return ""

    def try_one(self, item: Property) -> None:
        """One property: bad values, good values, and what those change."""
        seed, found = self.seed(item), self.found
        met = list(self.refusals(item, seed))
        found.problems += filter(None, met)
        found.turned_down[item.path] = met.count("")
        stored, before = self.base(seed)
        excepted = reason(self.kind, item.path) is not None
        same: list[str] = []
        for spec in self.changed(item, seed):
            after = self._taken(spec, seed)
            if after is None:
                found.turned_down[item.path] += 1
            if after is None or after == stored:  # what was taken away may be the default
                continue
            found.taken.setdefault(item.path, []).append((seed, spec))
            if item.path in found.other and excepted:
                continue  # one value is enough to see that the exception is still one
            found.other.setdefault(item.path, (seed, spec))
            changed = first_other(before, self.stages(copy.deepcopy(after)))
            if changed is None:
                same.append(_short(after, seed.place))
            elif refused := next(self._refused(changed), ""):
                found.refused[item.path] = refused
            else:
                found.shown.add(item.path)
                found.other[item.path] = (seed, spec)
        if same or not (item.path in found.shown or is_container(item)):
            why = found.refused.get(item.path, "no other value is valid")
            found.hidden[item.path] = ", ".join(same) or why

    def _refused(self, stage: str) -> Iterator[str]:
        """Why children of a stage cannot be made; the parent says so in a condition."""
        return filter(None, map(self._refusal, children(stage)))

    def _refusal(self, manifest: Json) -> str:
        text = json.dumps(manifest, sort_keys=True)
        if text not in self._refusals:
            self._refusals[text] = self.server.child(manifest)
        return self._refusals[text][:400]

    def _taken(self, spec: Json, seed: Seed) -> Json | None:
        """The spec as stored; None if a rule has a reason to refuse it."""
        after, refusal = self.server.create(spec)
        where = written(seed.place)
        if after is None:
            if not any(rule in refusal for rule in self.rules):
                self.found.problems.append(f"{where}: refused without a rule: {refusal[:400]}")
            return None
        lost = _lost(make(self.kind, spec, "")["spec"], after)
        if lost:
            self.found.problems.append(f"{where}: not kept as written: {lost}")
        return after


def first_other(before: list[str], after: Iterator[str]) -> str | None:
    """The first stage that is another, empty where one is missing; looks no further."""
    pairs = zip_longest(before, after, fillvalue="")
    return next((other for one, other in pairs if one != other), None)


def differs(before: list[str], after: Iterator[str]) -> bool:
    """Whether one of the stages is another."""
    return first_other(before, after) is not None


def is_container(item: Property) -> bool:
    """An object of named properties, or a list of them: tried by what is in it."""
    inner = item.schema.get("items", item.schema)
    return bool(inner.get("properties"))


def _short(spec: Json, place: Place) -> str:
    try:
        return str(value_at(spec, place))[:60]
    except (KeyError, IndexError):
        return "absent"


def _lost(written_spec: Any, stored: Any) -> str:
    """What the server did not keep of what was written; it may add defaults."""
    if isinstance(written_spec, dict) and isinstance(stored, dict):
        for key, value in written_spec.items():
            if key not in stored:
                return str(key)
            below = _lost(value, stored[key])
            if below:
                return f"{key}.{below}"
        return ""
    if isinstance(written_spec, list) and isinstance(stored, list):
        if len(written_spec) != len(stored):
            return "items"
        pairs = zip(written_spec, stored, strict=True)
        return next((text for text in (_lost(one, two) for one, two in pairs) if text), "")
    return "" if written_spec == stored else str(stored)[:60]


def _messages(schema: Any) -> Iterator[str]:
    """Messages of all CEL rules in a schema."""
    if isinstance(schema, dict):
        for rule in schema.get("x-kubernetes-validations", ()):
            yield rule["message"]
        for value in schema.values():
            yield from _messages(value)
