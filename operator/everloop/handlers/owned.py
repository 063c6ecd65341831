"""Whose an object is that was found by its name."""

from __future__ import annotations

from everloop.cluster import objects
from everloop.handlers.kind import Object


def own(parent: Object, found: Object | None) -> Object | None:
    """The object if `parent` controls it; a namesake's or a predecessor's is not ours to read."""
    owner = objects.controller(found) if found is not None else None
    return found if owner is not None and owner["uid"] == objects.uid(parent) else None
