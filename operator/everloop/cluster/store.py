"""Where the cache keeps objects: those in use as they are, the others packed.

Most of a big cluster is at rest (finished runs, old versions), and as Python dicts an object takes
fifty times the memory of its text, compressed by what differs from another one like it. Packing and
unpacking take some 50 microseconds.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json, to_json

from everloop import contract
from everloop.cluster import objects
from everloop.cluster.trim import share

Object = Mapping[str, Any]
Place = tuple[str, str, str]  # Kind.group, namespace, name
RAW = -zlib.MAX_WBITS  # a stream without header and checksum
IN_USE = 400  # objects that are kept unpacked, at some 10 kB each


class _Entry:
    """One object: what is compared without unpacking, and the packed rest."""

    __slots__ = ("like", "packed", "uid", "version")

    def __init__(self, uid: str, version: int) -> None:
        self.uid = uid
        self.version = version
        self.packed = b""  # empty while it is in use
        self.like = b""  # the text of another object, which it was packed against


class Store:
    """Objects by place. Those that were read or written last are in use."""

    def __init__(self, in_use: int = IN_USE) -> None:
        self._entries: dict[str, dict[str, dict[str, _Entry]]] = {}  # kind, namespace, name
        self._in_use: OrderedDict[Place, Object] = OrderedDict()
        self._most = in_use
        self._samples: dict[tuple[str, str], bytes] = {}  # kind, component → one object's text

    def serve(self, qualified: str) -> None:
        """Say that a kind exists, with no object yet."""
        self._entries.setdefault(qualified, {})

    def kinds(self) -> Iterator[str]:
        """Every kind that was served or put."""
        return iter(self._entries)

    def namespaces(self, qualified: str) -> Iterator[str]:
        """Namespaces with objects of a kind."""
        return iter(self._entries.get(qualified, {}))

    def names(self, qualified: str, namespace: str) -> Iterator[str]:
        """Names of the objects of a kind in a namespace."""
        return iter(self._entries.get(qualified, {}).get(namespace, {}))

    def size(self, qualified: str) -> int:
        """How many objects of a kind there are."""
        return sum(len(names) for names in self._entries.get(qualified, {}).values())

    def known(self, place: Place) -> tuple[str, int] | None:
        """(uid, version) of an object."""
        entry = self._entry(place)
        return None if entry is None else (entry.uid, entry.version)

    def get(self, place: Place) -> Object | None:
        """One object."""
        entry = self._entry(place)
        if entry is None:
            return None
        item = self._in_use.get(place)
        if item is None:
            item = from_json(_unpack(entry))  # which shares strings, too
        self._use(place, item)
        return item

    def put(self, place: Place, item: Object) -> None:
        """Keep an object, in place of what was there."""
        entry = _Entry(objects.uid(item), objects.version(item))
        kind, namespace, name = place
        self._entries.setdefault(kind, {}).setdefault(namespace, {})[name] = entry
        self._use(place, share(item))

    def remove(self, place: Place) -> None:
        """Forget an object that is there."""
        kind, namespace, name = place
        names = self._entries[kind][namespace]
        del names[name]
        if not names:
            del self._entries[kind][namespace]
        self._in_use.pop(place, None)

    # --- inside -----------------------------------------------------------------------------------
    def _entry(self, place: Place) -> _Entry | None:
        kind, namespace, name = place
        return self._entries.get(kind, {}).get(namespace, {}).get(name)

    def _use(self, place: Place, item: Object) -> None:
        self._in_use[place] = item
        self._in_use.move_to_end(place)
        if len(self._in_use) <= self._most:
            return
        oldest, resting = self._in_use.popitem(last=False)
        entry = self._entry(oldest)
        if entry is not None and not entry.packed:
            text = to_json(resting)
            component = objects.labels(resting).get(contract.LABEL_COMPONENT, "")
            entry.like = self._samples.setdefault((oldest[0], component), text)
            entry.packed = _pack(text, entry.like)


def _pack(text: bytes, like: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, RAW, zdict=like)
    return packer.compress(text) + packer.flush()


def _unpack(entry: _Entry) -> bytes:
    unpacker = zlib.decompressobj(RAW, zdict=entry.like)
    return unpacker.decompress(entry.packed) + unpacker.flush()
