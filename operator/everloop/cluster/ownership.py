"""Makes what our POST set removable by server-side apply.

POST records its manager as "Update"; a later apply would share those fields, never drop them. So
they become applied ones before the first apply that drops any, as client-go's csaupgrade does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everloop import contract, errors
from everloop.cluster import objects
from everloop.cluster.client import JSON_PATCH, Client
from everloop.cluster.compare import owned_fields, surplus

Json = dict[str, Any]
CLAIMS = 5  # a controller may write the status of a young object between our read and our write


async def claim(client: Client, desired: Mapping[str, Any], live: objects.Object) -> None:
    """Turn what our POST of `live` set into applied fields, if `desired` has not all of it.

    Raises errors.Conflict if the object is gone or changes all the time, errors.ApiError.
    """
    entries = objects.metadata(live).get("managedFields") or ()
    posted = owned_fields([entry for entry in entries if entry["operation"] == "Update"])
    if not surplus(posted, desired):
        return
    meta = desired["metadata"]
    for attempt in range(CLAIMS):
        current = await client.get(
            desired["apiVersion"], desired["kind"], meta["namespace"], meta["name"]
        )
        if current is None:
            raise errors.Conflict(f"{objects.describe(desired)} is gone")
        entries = current["metadata"].get("managedFields") or []
        claimed = _claimed(entries, desired["apiVersion"])
        if claimed == entries:
            return
        version = current["metadata"]["resourceVersion"]
        body = [
            {"op": "replace", "path": "/metadata/managedFields", "value": claimed},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        ]
        try:
            await client.patch(desired, JSON_PATCH, body)
            return
        except errors.Conflict:
            if attempt == CLAIMS - 1:
                raise


def _claimed(entries: list[Json], api_version: str) -> list[Json]:
    mine = [
        entry
        for entry in entries
        if entry.get("manager") == contract.FIELD_MANAGER and not entry.get("subresource")
    ]
    if not any(entry["operation"] == "Update" for entry in mine):
        return entries
    claimed = mine[0] | {
        "operation": "Apply",
        "fieldsV1": owned_fields(mine),
        "apiVersion": api_version,
    }
    return [entry for entry in entries if entry not in mine] + [claimed]
