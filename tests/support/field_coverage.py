"""How each property was exercised; what is none of these sorts was not.

A property is exercised when bad values were refused in clear words, and each other value either
showed or was refused. An exception counts only if that was seen of it, too.
"""

from __future__ import annotations

from collections import Counter

from field_changes import Changes
from field_exceptions import ONE_VALUE, RECORD, TOLD, reason
from field_schema import Property
from field_tries import Fields, is_container

SHOWS = "show each other value in children or status"
PARTS = "are objects of properties, one of them exercised, and refuse what they do not know"
ONE = "have one value and refuse all others"
KEPT = "are records whose every other value is refused as immutable"
NOT = "are not exercised"


def sorts(fields: Fields, changes: Changes) -> dict[str, str]:
    """Path → sort."""
    found: dict[str, str] = {}
    for item in reversed(fields.all):  # what is in an object before the object
        found[item.path] = _sort(fields, changes, item, found)
    return found


def _sort(fields: Fields, changes: Changes, item: Property, inner: dict[str, str]) -> str:
    seen, path, why = fields.found, item.path, reason(fields.kind, item.path)
    if not seen.turned_down.get(path):
        return NOT
    if path not in seen.hidden and path in seen.shown:
        return SHOWS
    if why == ONE_VALUE and path not in seen.taken:
        return ONE
    if why in (RECORD, TOLD) and path in changes.kept:
        return KEPT
    below = (f"{path}.", f"{path}[]")
    parts = [sort for name, sort in inner.items() if name.startswith(below)]
    if why is None and is_container(item) and any(sort != NOT for sort in parts):
        return PARTS
    return NOT


def told(name: str, found: dict[str, str]) -> str:
    """The coverage of one kind, or of all, in a line."""
    count = Counter(found.values())
    exercised = len(found) - count[NOT]
    parts = "; ".join(f"{count[sort]} {sort}" for sort in (SHOWS, PARTS, ONE, KEPT, NOT))
    share = f"{exercised} of {len(found)} properties exercised ({exercised / len(found):.1%})"
    return f"{name}: {share}: {parts}"


def share(found: dict[str, str]) -> float:
    """How many are exercised."""
    return sum(sort != NOT for sort in found.values()) / len(found)
