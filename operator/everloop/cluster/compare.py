"""Whether a live object is what we want: values, and that the fields are still ours.

The server defaults and normalises what we send, so equality is asked of our fields only, with
quantities compared as numbers. Anybody's edit of a field takes its ownership from us, so ownership
(managedFields) also shows edits that values cannot, such as a key added inside an atomic list; and
its shape tells which lists merge by key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

Fields = Mapping[str, Any]  # fieldsV1
_QUANTITY_PARENTS = {"limits", "requests", "overhead", "capacity", "hard"}
_QUANTITIES = {"sizeLimit", "divisor"}
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$")
_DECIMAL = {suffix: Decimal(10) ** power for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)}  # fmt: skip  # noqa: E501
_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}


def difference(desired: Mapping[str, Any], live: Mapping[str, Any]) -> str | None:
    """The path of the first field of `desired` that `live` lacks, has otherwise or that is not
    ours any more; None if there is none.
    """
    owned = owned_fields(live["metadata"].get("managedFields") or ())
    if not owned:
        return "metadata.managedFields"
    for key in desired:
        if key in ("apiVersion", "kind"):
            continue
        if key == "metadata":
            wanted = {
                name: value
                for name, value in desired[key].items()
                if name not in ("name", "namespace", "uid")
            }
        else:
            wanted = desired[key]
        found = _walk(wanted, live.get(key), owned.get(f"f:{key}"), (key,))
        if found is not None:
            return ".".join(found)
    return None


def contains(desired: Any, live: Any) -> bool:
    """Whether `live` has every field of `desired`; lists as wholes."""
    return _walk(desired, live, None, ()) is None


def surplus(owned: Fields, desired: Any) -> bool:
    """Whether `owned` has a field that `desired` has not: ours once, or a server's default."""
    for key, below in owned.items():
        kind, _, name = key.partition(":")
        if kind == "f":
            inside = isinstance(desired, Mapping) and name in desired
            if not inside or surplus(below, desired[name]):
                return True
        elif kind == "k":
            keys = json.loads(name)
            found = [want for want in desired if _matches(want, keys)]
            if not found or surplus(below, found[0]):
                return True
        elif kind == "v" and json.loads(name) not in desired:
            return True
    return False


def _matches(item: Any, keys: Mapping[str, Any]) -> bool:
    return all(item.get(name, value) == value for name, value in keys.items())


def owned_fields(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The union of fieldsV1 of several entries."""
    union: dict[str, Any] = {}
    for entry in entries:
        _unite(union, entry.get("fieldsV1") or {})
    return union


def _unite(into: dict[str, Any], fields: Fields) -> None:
    for key, below in fields.items():
        _unite(into.setdefault(key, {}), below)


Path = tuple[str, ...]


def _walk(desired: Any, live: Any, owned: Fields | None, path: Path) -> Path | None:
    """The path of the first difference.

    `owned` is None where nobody asks whose it is, {} where the whole (a leaf, an atomic) is ours.
    """
    if isinstance(desired, Mapping):
        return _walk_map(desired, live, owned, path)
    if isinstance(desired, list | tuple):
        return _walk_list(desired, live, owned or {}, path)
    return None if _same(desired, live, path) else path


def _walk_list(desired: Sequence[Any], live: Any, owned: Fields, path: Path) -> Path | None:
    if not isinstance(live, list):
        return None if not desired and live is None else path
    if any(key.startswith("k:") for key in owned):
        return _walk_keyed(desired, live, owned, path)
    members = [json.loads(key[2:]) for key in owned if key.startswith("v:")]
    if members:
        return None if all(item in live and item in members for item in desired) else path
    if len(desired) != len(live):
        return path
    pairs = enumerate(zip(desired, live, strict=True))
    found = (_walk(want, have, None, (*path, str(index))) for index, (want, have) in pairs)
    return next((item for item in found if item is not None), None)


def _walk_map(
    desired: Mapping[str, Any], live: Any, owned: Fields | None, path: Path
) -> Path | None:
    if not isinstance(live, Mapping):
        return None if not desired and live is None else path
    for key, value in desired.items():
        if key not in live and not value:
            continue  # the server drops empty values
        below = None
        if owned:  # granular: every field of ours is listed
            below = owned.get(f"f:{key}")
            if below is None and _counts(value):
                return (*path, key)
        if key not in live:
            return (*path, key)
        found = _walk(value, live[key], below, (*path, key))
        if found is not None:
            return found
    return None


def _counts(value: Any) -> bool:
    """Whether the server would record who owns it."""
    return value is not None and value not in ({}, [], ())


def _walk_keyed(
    desired: Sequence[Any], live: Sequence[Any], owned: Fields, path: Path
) -> Path | None:
    position = -1
    for index, want in enumerate(desired):
        here = (*path, str(index))
        match = None
        for key, below in owned.items():
            if not key.startswith("k:"):
                continue
            keys = json.loads(key[2:])
            if not _matches(want, keys):
                continue
            at = next(
                (
                    number
                    for number, have in enumerate(live)
                    if all(have.get(name) == value for name, value in keys.items())
                ),
                None,
            )
            if at is not None:
                match = (at, below)
                break
        if match is None or match[0] < position:
            return here  # absent, not ours, or in another order
        position = match[0]
        found = _walk(want, live[position], match[1], here)
        if found is not None:
            return found
    return None


def _same(desired: Any, live: Any, path: Path) -> bool:
    if desired == live and isinstance(desired, bool) == isinstance(live, bool):
        return True
    if (len(path) > 1 and path[-2] in _QUANTITY_PARENTS) or path[-1] in _QUANTITIES:
        wanted, found = quantity(desired), quantity(live)
        return wanted is not None and wanted == found
    return False


def quantity(value: Any) -> Decimal | None:
    """The number that a resource quantity means: `0.010` and `10m` are the same."""
    match = _QUANTITY.match(str(value))
    if match is None:
        return None
    number, suffix = match.groups()
    if suffix is None:
        return Decimal(number)
    if suffix[0] in "eE" and len(suffix) > 1:
        return Decimal(number + suffix)
    return Decimal(number) * (_BINARY.get(suffix) or _DECIMAL[suffix])
