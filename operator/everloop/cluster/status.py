"""The one status write of a pass: what differs, for the object and version it was planned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    """PATCH the status subresource if it differs; the new object, or None if nothing was to do.

    Raises errors.Conflict when the object has changed since it was read.
    """
    patch = merge_patch(parent.get("status") or {}, without_nulls(status))
    if not patch:
        return None
    meta = objects.metadata(parent)
    identity = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    return await client.patch(parent, MERGE, {"metadata": identity, "status": patch}, "status")


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
    body = {
        "metadata": {
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "finalizers": wanted,
        }
    }
    return await client.patch(parent, MERGE, body)
