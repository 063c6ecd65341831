"""What we know of the cluster: trimmed objects, indexed by name, owner and label.

Filled by watches, by lists and by the answers to our own writes, in any order: a version that is
older than what is known, or of an object that is known to be gone, changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everloop import contract
from everloop.cluster import objects
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

    def __init__(self) -> None:
        self._items: dict[str, dict[tuple[str, str], Object]] = {}  # by Kind.group
        self._owned: dict[str, set[tuple[str, str, str]]] = defaultdict(set)  # by owner's uid
        self._labelled: dict[tuple[str, str], set[tuple[str, str, str]]] = defaultdict(set)
        self._gone: OrderedDict[str, None] = OrderedDict()

    # --- the View ---------------------------------------------------------------------------------
    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object by name."""
        return self._items.get(self._resolve(kind), {}).get((namespace, name))

    def list(
        self, kind: str, namespace: str, labels: Mapping[str, str] | None = None
    ) -> Sequence[Object]:
        """Objects of a namespace, by name; with `labels`, those that bear all of them."""
        qualified = self._resolve(kind)
        items = self._items.get(qualified, {})
        if labels:
            found = set.intersection(*(self._labelled.get(pair, set()) for pair in labels.items()))
            keys = sorted(
                (item[1], item[2])
                for item in found
                if item[0] == qualified and item[1] == namespace
            )
        else:
            keys = sorted(key for key in items if key[0] == namespace)
        return [items[key] for key in keys]

    def children(self, kind: str, owner: Object) -> Sequence[Object]:
        """Objects of a kind whose controller is `owner`, by name."""
        found = [
            self._items[qualified][namespace, name]
            for qualified, namespace, name in sorted(self._owned.get(objects.uid(owner), ()))
            if kind in (qualified, qualified.partition(".")[0])
        ]
        return found

    # --- filling ----------------------------------------------------------------------------------
    def serve(self, kinds: Iterable[str]) -> None:
        """Say which `Kind.group` are watched, before anything is put."""
        for qualified in kinds:
            self._items.setdefault(qualified, {})

    def put(self, item: Object) -> Change | None:
        """Take an object as read. None if we knew as much or more."""
        item = trim(item)
        if objects.uid(item) in self._gone:
            return None
        qualified, key = objects.qualified(item), _key(item)
        before = self._items.setdefault(qualified, {}).get(key)
        if before is not None:
            if objects.uid(before) != objects.uid(item):
                self._bury(before)
            elif objects.version(before) >= objects.version(item):
                return None
            self._unindex(qualified, key, before)
        self._items[qualified][key] = item
        self._index(qualified, key, item)
        return Change(before, item)

    def remove(self, item: Object) -> Change | None:
        """Forget an object that is gone. None if we knew."""
        uid, qualified, key = objects.uid(item), objects.qualified(item), _key(item)
        self._bury(item)
        before = self._items.get(qualified, {}).get(key)
        if before is None or objects.uid(before) != uid:
            return None
        self._unindex(qualified, key, before)
        del self._items[qualified][key]
        return Change(before, None)

    def stale(self, qualified: str, namespaces: Sequence[str], uids: set[str], version: int) -> Any:
        """Objects that a list of `version` (with these uids) shows to be gone."""
        return [
            item
            for (namespace, _), item in self._items.get(qualified, {}).items()
            if (not namespaces or namespace in namespaces)
            and objects.uid(item) not in uids
            and objects.version(item) <= version
        ]

    def all(self, qualified: str) -> Sequence[Object]:
        """Every object of a kind, in all namespaces."""
        return list(self._items.get(qualified, {}).values())

    def size(self, qualified: str) -> int:
        """How many objects of a kind are known."""
        return len(self._items.get(qualified, {}))

    # --- inside -----------------------------------------------------------------------------------
    def _resolve(self, kind: str) -> str:
        """The `Kind.group` that a name means, see handlers.kind.View."""
        ours = objects.qualify(kind, contract.GROUP)
        if "." in kind or ours in self._items:
            return kind if "." in kind else ours
        named = [known for known in self._items if known.partition(".")[0] == kind]
        return named[0] if len(named) == 1 else kind

    def _bury(self, item: Object) -> None:
        self._gone[objects.uid(item)] = None
        if len(self._gone) > TOMBSTONES:
            self._gone.popitem(last=False)

    def _index(self, qualified: str, key: tuple[str, str], item: Object) -> None:
        place = (qualified, *key)
        owner = objects.controller(item)
        if owner is not None:
            self._owned[owner["uid"]].add(place)
        for pair in (objects.metadata(item).get("labels") or {}).items():
            self._labelled[pair].add(place)

    def _unindex(self, qualified: str, key: tuple[str, str], item: Object) -> None:
        place = (qualified, *key)
        owner = objects.controller(item)
        if owner is not None:
            _discard(self._owned, owner["uid"], place)
        for pair in (objects.metadata(item).get("labels") or {}).items():
            _discard(self._labelled, pair, place)


def _key(item: Object) -> tuple[str, str]:
    meta = objects.metadata(item)
    return str(meta.get("namespace") or ""), str(meta["name"])


def _discard(index: dict[Any, set[Any]], key: Any, place: Any) -> None:
    index[key].discard(place)
    if not index[key]:
        del index[key]
