"""The writes to a parent itself: what differs, for the object and version it was planned from.

Both raise errors.Conflict when the parent has changed since it was read, or is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everloop import errors
from everloop.cluster import objects
from everloop.cluster.client import MERGE, Client

Json = dict[str, Any]


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> Json:
    """The JSON merge patch (RFC 7396) that turns `before` into `after`; {} if they are equal.

    >>> merge_patch({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 1, "d": 3}})
    {'a': None, 'b': {'d': 3}}
    """
    patch: Json = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            below = merge_patch(old, value)
            if below:
                patch[key] = below
        elif key not in before or old != value:
            patch[key] = value
    return patch


def without_nulls(value: Any) -> Any:
    """A copy without None in maps: a merge patch cannot say null, a status has no use for it."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


async def write(client: Client, parent: objects.Object, status: Mapping[str, Any]) -> Json | None:
    """PATCH the status subresource if it differs; the new object, or None if nothing was to do."""
    patch = merge_patch(parent.get("status") or {}, without_nulls(status))
    return await _patch(client, parent, {}, {"status": patch}, "status") if patch else None


async def write_finalizers(
    client: Client, parent: objects.Object, ours: tuple[str, ...], prefix: str
) -> Json | None:
    """Make our finalizers (those with `prefix`) exactly `ours`; others stay as they are."""
    meta = objects.metadata(parent)
    now = list(meta.get("finalizers") or ())
    wanted = [name for name in now if not name.startswith(prefix) or name in ours]
    if not meta.get("deletionTimestamp"):
        wanted += [name for name in ours if name not in wanted]
    if wanted == now:
        return None
    return await _patch(client, parent, {"finalizers": wanted}, {})


async def _patch(
    client: Client, parent: objects.Object, meta: Json, fields: Json, subresource: str = ""
) -> Json:
    """The parent as patched, if it is still as it was read.

    That it is gone is a conflict, too: as any other error it would be tried again, and what garbage
    collection has taken meanwhile would be made anew.
    """
    read = {key: objects.metadata(parent)[key] for key in ("uid", "resourceVersion")}
    try:
        return await client.patch(parent, MERGE, {"metadata": read | meta, **fields}, subresource)
    except errors.NotFound as error:
        raise errors.Conflict(f"{objects.describe(parent)} is gone") from error
