"""What the cache knows of its objects without unpacking them: whose they are, what they bear.

A pass of the engine may ask for nothing that costs more the more objects rest: looking through all
versions of a model once a run is a minute of work with two thousand of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from everloop import contract
from everloop.cluster import objects
from everloop.cluster.store import Place

Object = Mapping[str, Any]
MODEL = "spec.modelName"  # a term like a label
# Labels by which kinds look for objects; the others are too many, or too common, to be worth it.
LABELS = frozenset(
    {contract.LABEL_MODEL_VERSION, contract.LABEL_DEPLOYMENT, contract.LABEL_MONITOR}
)
# What is asked for by its values: an annotation, and a field of TrainingRuns.
ANNOTATIONS = frozenset({contract.ANNOTATION_REGISTERED})
REGISTERED = "status.modelVersion"


class Index:
    """Places of objects, by what leads to them. Add the object as it is, remove it as it was."""

    def __init__(self) -> None:
        self._made: dict[str, set[Place]] = defaultdict(set)  # by the maker's uid
        self._bearing: dict[tuple[str, str, str], set[Place]] = defaultdict(set)  # namespace, term
        # (kind, namespace, annotation or field) → name → value
        self._values: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)

    def add(self, place: Place, item: Object) -> None:
        """Take note of an object."""
        for uid in _makers(item):
            self._made[uid].add(place)
        for term in _terms(item):
            self._bearing[place[1], *term].add(place)
        for what, value in _values(item):
            self._values[place[0], place[1], what][place[2]] = value

    def remove(self, place: Place, item: Object) -> None:
        """Forget it."""
        for uid in _makers(item):
            _discard(self._made, uid, place)
        for term in _terms(item):
            _discard(self._bearing, (place[1], *term), place)
        for what, _ in _values(item):
            key = (place[0], place[1], what)
            self._values[key].pop(place[2], None)
            if not self._values[key]:
                del self._values[key]

    def made_by(self, uid: str) -> Iterable[Place]:
        """What this object controls, and the ModelVersions that were made from this run."""
        return self._made.get(uid, ())

    def bearing(
        self, qualified: str, namespace: str, terms: Iterable[tuple[str, str]]
    ) -> set[str] | None:
        """Names of the objects that bear all terms which are indexed; None if none of them is."""
        indexed = [term for term in terms if term[0] in LABELS or term[0] == MODEL]
        if not indexed:
            return None
        sets = (self._bearing.get((namespace, *term), set()) for term in indexed)
        return {place[2] for place in set.intersection(*sets) if place[0] == qualified}

    def values(self, qualified: str, namespace: str, what: str) -> Iterable[str]:
        """Values of an annotation of ANNOTATIONS, or of REGISTERED."""
        return self._values.get((qualified, namespace, what), {}).values()


def _makers(item: Object) -> Iterator[str]:
    owner = objects.controller(item)
    if owner is not None:
        yield owner["uid"]
    if _ours(item):
        run = ((item.get("spec") or {}).get("provenance") or {}).get("runUid")
        if run:
            yield run


def _terms(item: Object) -> Iterator[tuple[str, str]]:
    for label, value in objects.labels(item).items():
        if label in LABELS:
            yield label, value
    model = (item.get("spec") or {}).get("modelName") if _ours(item) else None
    if model:
        yield MODEL, model


def _values(item: Object) -> Iterator[tuple[str, str]]:
    for annotation, value in (objects.metadata(item).get("annotations") or {}).items():
        if annotation in ANNOTATIONS:
            yield annotation, value
    if _ours(item) and item["kind"] == "TrainingRun":
        version = (item.get("status") or {}).get("modelVersion")
        if version:
            yield REGISTERED, version


def _ours(item: Object) -> bool:
    return objects.group(str(item.get("apiVersion") or "")) == contract.GROUP


def _discard(index: dict[Any, set[Any]], key: Any, place: Any) -> None:
    index[key].discard(place)
    if not index[key]:
        del index[key]
