"""Which parents a changed object wakes: itself, its owners, its labels' owners, its referrers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from everloop import contract
from everloop.cluster import objects
from everloop.cluster.cache import Cache, Change
from everloop.handlers.kind import Key, Kind, Object, Ref

# Pods are owned by Jobs and ReplicaSets; the label says at once whose they are in the end.
_LABELS = {
    contract.LABEL_RUN: "TrainingRun",
    contract.LABEL_EXPERIMENT: "Experiment",
    contract.LABEL_DEPLOYMENT: "Deployment",
    contract.LABEL_MONITOR: "Monitor",
}
_OWNERS = 4  # how far up: pod → Job → TrainingRun → Experiment


class Wakes:
    """The reverse index of references, and what a change means to whom."""

    def __init__(self, kinds: Iterable[Kind[object]], cache: Cache) -> None:
        self._kinds = {_qualified(kind): kind for kind in kinds}
        self._by_name = {kind.resource.kind: kind for kind in self._kinds.values()}
        self._cache = cache
        self._refs: dict[Key, frozenset[Ref]] = {}
        self._referrers: dict[Ref, set[Key]] = defaultdict(set)

    def parent(self, item: Object) -> Key | None:
        """The key of an object that is reconciled itself."""
        kind = self._kinds.get(objects.qualified(item))
        meta = objects.metadata(item)
        return None if kind is None else Key(kind.resource.kind, meta["namespace"], meta["name"])

    def keys(self, change: Change) -> set[Key]:
        """Everybody who has to look again. Takes note of what a parent refers to."""
        newest = change.sides[-1]
        key = self.parent(newest)
        if key is not None:
            self._note(key, change.after)
        found: set[Key] = set()
        for side in change.sides:
            found.update(self._owners(side))
            found.update(self._labelled(side))
            found.update(self._referring(side))
        if key is not None:
            found.add(key)
        return found

    # --- inside -----------------------------------------------------------------------------------
    def _note(self, key: Key, item: Object | None) -> None:
        refs = frozenset(self._by_name[key.kind].references(item)) if item is not None else None
        before = self._refs.get(key, frozenset())
        for ref in before - (refs or frozenset()):
            self._referrers[ref].discard(key)
            if not self._referrers[ref]:
                del self._referrers[ref]
        for ref in (refs or frozenset()) - before:
            self._referrers[ref].add(key)
        if refs:
            self._refs[key] = refs
        else:
            self._refs.pop(key, None)

    def _owners(self, item: Object) -> Iterator[Key]:
        namespace = str(objects.metadata(item).get("namespace") or "")
        at: Object | None = item
        for _ in range(_OWNERS):
            owner = objects.controller(at) if at is not None else None
            if owner is None:
                return
            qualified = objects.qualify(owner["kind"], objects.group(owner["apiVersion"]))
            kind = self._kinds.get(qualified)
            if kind is not None:
                yield Key(kind.resource.kind, namespace, owner["name"])
            at = self._cache.get(qualified, namespace, owner["name"])

    def _labelled(self, item: Object) -> Iterator[Key]:
        meta = objects.metadata(item)
        if not objects.managed(item):
            return
        for label, value in (meta.get("labels") or {}).items():
            kind = _LABELS.get(label)
            if kind in self._by_name:
                yield Key(kind, str(meta["namespace"]), value)

    def _referring(self, item: Object) -> Iterator[Key]:
        meta = objects.metadata(item)
        namespace = str(meta.get("namespace") or "")
        model = (item.get("spec") or {}).get("modelName") or (meta.get("labels") or {}).get(
            contract.LABEL_MODEL
        )
        for kind in {str(item["kind"]), objects.qualified(item)}:
            yield from self._referrers.get(Ref(kind, namespace, name=meta["name"]), ())
            yield from self._referrers.get(Ref(kind, namespace), ())
            if model:
                yield from self._referrers.get(Ref(kind, namespace, model=model), ())


def _qualified(kind: Kind[object]) -> str:
    return objects.qualify(kind.resource.kind, kind.resource.group)
