"""What we know of the cluster: trimmed objects, by name, and by what index.py knows of them.

Filled by watches, by lists and by the answers to our own writes, in any order: a version that is
older than what is known, or of an object that is known to be gone, changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from everloop import contract
from everloop.cluster import objects
from everloop.cluster.index import MODEL, Index
from everloop.cluster.recent import Recent
from everloop.cluster.store import Place, Store
from everloop.cluster.trim import trim

Object = Mapping[str, Any]
TOMBSTONES = 50_000  # uids of deleted objects that are remembered


@dataclass(frozen=True)
class Change:
    """What a put or a removal changed; either side may be missing."""

    before: Object | None
    after: Object | None

    @property
    def sides(self) -> tuple[Object, ...]:
        return tuple(item for item in (self.before, self.after) if item is not None)


class Cache:
    """The View of the kinds, and the place where the engine looks before it writes."""

    def __init__(self, changed: Callable[[Change], None] = lambda _: None) -> None:
        """`changed` hears of every change, whoever brings it."""
        self._changed = changed
        self._store = Store()
        self._index = Index()
        self._coming: set[Place] = set()  # names of objects that are being created
        self._gone = Recent[str, None](TOMBSTONES)

    # --- the View ---------------------------------------------------------------------------------
    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object by name."""
        return self._store.get((self._resolve(kind), namespace, name))

    def list(
        self,
        kind: str,
        namespace: str,
        labels: Mapping[str, str] | None = None,
        *,
        model: str | None = None,
    ) -> Sequence[Object]:
        """Objects of a namespace, by name: those with all `labels`, and of ours with this model."""
        qualified = self._resolve(kind)
        wanted = labels or {}
        terms = [*wanted.items(), *([(MODEL, model)] if model is not None else [])]
        names: Iterable[str] | None = self._index.bearing(qualified, namespace, terms)
        if names is None:
            names = self._store.names(qualified, namespace)
        found = self._objects((qualified, namespace, name) for name in sorted(names))
        return [item for item in found if wanted.items() <= objects.labels(item).items()]

    def names(self, kind: str, namespace: str) -> Sequence[str]:
        """Names of all objects of a namespace, and of those that are being created."""
        qualified = self._resolve(kind)
        coming = (place[2] for place in self._coming if place[:2] == (qualified, namespace))
        return [*self._store.names(qualified, namespace), *coming]

    def values(self, kind: str, namespace: str, what: str) -> Sequence[str]:
        """Values of an annotation or a field (of those in index.py) of a namespace's objects."""
        return list(self._index.values(self._resolve(kind), namespace, what))

    def children(self, kind: str, owner: Object) -> Sequence[Object]:
        """Objects of a kind whose controller is `owner`, or that were made from that run."""
        namespace = str(objects.metadata(owner).get("namespace") or "")  # copies may be elsewhere
        return self._objects(
            place
            for place in sorted(self._index.made_by(objects.uid(owner)))
            if kind in (place[0], place[0].partition(".")[0]) and place[1] == namespace
        )

    # --- filling ----------------------------------------------------------------------------------
    def serve(self, kinds: Iterable[str]) -> None:
        """Say which `Kind.group` are watched, before anything is put."""
        for qualified in kinds:
            self._store.serve(qualified)

    def knows(self, item: Object) -> bool:
        """Whether this object says nothing new, as most events that follow our own writes."""
        if objects.uid(item) in self._gone:
            return True
        known = self._store.known(_place(item))
        return (
            known is not None
            and known[0] == objects.uid(item)
            and known[1] >= objects.version(item)
        )

    def put(self, item: Object) -> Change | None:
        """Take an object as read. None if we knew as much or more."""
        if self.knows(item):
            return None
        uid, place = objects.uid(item), _place(item)
        before, known = None, self._store.known(place)
        if known is not None:
            before = self._store.get(place)
            if known[0] != uid:
                self._gone[known[0]] = None
            self._index.remove(place, before or {})
        self._store.put(place, trim(item))
        after = self._store.get(place)
        self._index.add(place, after or {})
        return self._tell(Change(before, after))

    def remove(self, item: Object) -> Change | None:
        """Forget an object that is gone. None if we knew."""
        uid, place = objects.uid(item), _place(item)
        self._gone[uid] = None
        known = self._store.known(place)
        if known is None or known[0] != uid:
            return None
        before = self._store.get(place)
        self._index.remove(place, before or {})
        self._store.remove(place)
        return self._tell(Change(before, None))

    @contextmanager
    def coming(self, item: Object) -> Iterator[None]:
        """While an object is being created, nobody else plans with its name."""
        place = _place(item)
        self._coming.add(place)
        try:
            yield
        finally:
            self._coming.discard(place)

    def stale(
        self, qualified: str, namespaces: Sequence[str], uids: set[str], version: int
    ) -> Sequence[Object]:
        """Objects that a list of `version` (with these uids) shows to be gone."""
        gone = []
        for namespace in namespaces or self.namespaces(qualified):
            for name in self._store.names(qualified, namespace):
                place = (qualified, namespace, name)
                known = self._store.known(place)
                if known is not None and known[0] not in uids and known[1] <= version:
                    gone.append(place)
        return self._objects(gone)

    def namespaces(self, qualified: str) -> Sequence[str]:
        """Namespaces with objects of a kind."""
        return tuple(self._store.namespaces(qualified))

    def size(self, qualified: str) -> int:
        """How many objects of a kind are known."""
        return self._store.size(qualified)

    # --- inside -----------------------------------------------------------------------------------
    def _tell(self, change: Change) -> Change:
        self._changed(change)
        return change

    def _objects(self, places: Iterable[Place]) -> Sequence[Object]:
        found = (self._store.get(place) for place in places)
        return [item for item in found if item is not None]

    def _resolve(self, kind: str) -> str:
        """The `Kind.group` that a name means, see handlers.kind.View."""
        if "." in kind:
            return kind
        ours = objects.qualify(kind, contract.GROUP)
        kinds = tuple(self._store.kinds())
        if ours in kinds:
            return ours
        named = [known for known in kinds if known.partition(".")[0] == kind]
        return named[0] if len(named) == 1 else kind


def _place(item: Object) -> Place:
    meta = objects.metadata(item)
    return (
        sys.intern(objects.qualified(item)),
        sys.intern(str(meta.get("namespace") or "")),
        str(meta["name"]),
    )
