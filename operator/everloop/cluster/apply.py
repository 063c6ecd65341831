"""Brings one planned object into the cluster: created by POST, changed by server-side apply.

A POST asks the API server whether the name is free, which no cache can know; an apply carries the
uid of the object it was planned for, so it never creates one and never hits a successor.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from everloop import contract, errors
from everloop.api.conditions import UNSEEN
from everloop.cluster import objects
from everloop.cluster.cache import Cache
from everloop.cluster.client import APPLY, MERGE, Client
from everloop.cluster.compare import contains, difference
from everloop.cluster.ownership import claim
from everloop.cluster.recent import Recent
from everloop.cluster.store import Place
from everloop.plans.plan import Child, Deletion, Mode, OnConflict, Patch

logger = logging.getLogger(__name__)
Json = dict[str, Any]
# Their data must stay the same to the byte, which a PATCH does not keep: it writes "<" otherwise.
UNPATCHABLE = ("ControllerRevision",)
REMEMBERED = 1000  # objects about which the API server and we disagree


@dataclass(frozen=True)
class Problem:
    """Why a child cannot be as planned: a condition of its parent."""

    reason: str
    message: str
    apart: bool = False  # as the child


@dataclass
class _Parent:
    """A parent in one pass: as planned for, and whether it was seen to be there."""

    item: objects.Object
    seen: bool = False


class Applier:
    """Carries out children, patches and deletions. What they changed is in the cache at once."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        seen: Callable[[objects.Object], Awaitable[None]],
    ) -> None:
        """`seen` takes an object that may show what others did to it, besides what we did."""
        self._client = client
        self._cache = cache
        self._seen = seen
        # uid → digest and version after an apply that did not bring what was asked: say so once
        self._unsettled = Recent[str, tuple[str, int]](REMEMBERED)
        self._conflicts = Recent[Place, None](REMEMBERED)  # names seen taken: read before POST

    async def children(self, parent: objects.Object, children: Iterable[Child]) -> list[Problem]:
        """Make the children exist as planned, in order; what is wrong where they cannot.

        Raises errors.Replan, errors.Transient, errors.Conflict, errors.Terminating.
        """
        problems: list[Problem] = []
        once = _Parent(parent)
        for child in children:
            if child.after and not all(problem.apart for problem in problems):
                continue
            problem = await self._child(once, child)
            if problem is not None:
                problems.append(replace(problem, apart=child.apart))
        return problems

    async def patch(self, patch: Patch) -> None:
        """Set fields of an object that is planned elsewhere, if it lacks them."""
        wanted = patch.manifest
        meta = wanted["metadata"]
        live = self._cached(wanted) or await self._client.get(
            wanted["apiVersion"], wanted["kind"], meta["namespace"], meta["name"]
        )
        if live is None or objects.uid(live) != meta["uid"]:
            return  # gone, or replaced: what watches it plans anew
        fields = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind")}
        if contains(fields, live):
            return
        try:
            await self._seen(await self._client.patch(wanted, MERGE, fields))
        except errors.NotFound:
            return

    async def delete(self, deletion: Deletion) -> None:
        """Delete this very object, once; absent is fine."""
        live = self._cached(
            {
                "apiVersion": deletion.api_version,
                "kind": deletion.kind,
                "metadata": {"namespace": deletion.namespace, "name": deletion.name},
            }
        )
        if live is not None and objects.metadata(live).get("deletionTimestamp"):
            return
        left = await self._client.delete(
            deletion.api_version,
            deletion.kind,
            deletion.namespace,
            deletion.name,
            uid=deletion.uid,
            propagation=deletion.propagation,
        )
        # Else a pass before the watch has told would delete it again.
        if left is not None:
            self._cache.put(left)
        elif live is not None and objects.uid(live) == deletion.uid:
            self._cache.remove(live)

    async def restore(self, live: objects.Object, parent: objects.Object | None) -> None:
        """Put back the label or the owner that a hand removed from an object of ours.

        Without them it would be lost from sight: a running Job would pass for a deleted one, and a
        promotion for one that never was. `parent` is None for what nobody owns.
        """
        meta: Json = {
            "uid": objects.uid(live),
            "labels": {contract.MANAGED_BY: contract.MANAGED_BY_VALUE},
        }
        if parent is not None and not objects.controller(live):
            meta["ownerReferences"] = [
                *(objects.metadata(live).get("ownerReferences") or ()),
                objects.owner_reference(parent),
            ]
        try:
            if live["kind"] in UNPATCHABLE:
                self._cache.put(await self._client.replace(_merged(live, meta)))
            else:
                self._cache.put(await self._client.patch(live, MERGE, {"metadata": meta}))
        except errors.NotFound:
            return

    # --- inside -----------------------------------------------------------------------------------
    def _cached(self, manifest: Mapping[str, Any]) -> objects.Object | None:
        meta = manifest["metadata"]
        return self._cache.get(objects.qualified(manifest), meta["namespace"], meta["name"])

    async def _read(self, desired: Mapping[str, Any]) -> Json | None:
        meta = desired["metadata"]
        return await self._client.get(
            desired["apiVersion"], desired["kind"], meta["namespace"], meta["name"]
        )

    async def _child(self, parent: _Parent, child: Child) -> Problem | None:
        desired = prepare(parent.item, child)
        try:
            live = self._cached(desired)
            if live is None and child.on_conflict is OnConflict.REPLAN:
                with self._cache.coming(desired):  # else all who plan meanwhile take this name
                    return await self._create(parent, child, desired)
            if live is None:
                return await self._create(parent, child, desired)
            return await self._reconcile(parent.item, child, desired, live)
        except errors.ApiError as error:
            if error.condition is None:
                raise
            return Problem(error.condition, f"{objects.describe(desired)}: {error}")

    async def _require(self, once: _Parent, child: Child) -> None:
        """Nothing is made for a parent that is gone. Raises errors.Conflict.

        Watches of different kinds do not wait for each other: of a parent that was deleted with its
        children, the children may be seen to go first, and would be made again; so would those of
        a parent that a list from an old cache still shows. One look a pass, and none for what is
        owned by a parent whose status says nothing: it hardly has children that could have gone,
        and if it has gone itself, what it owns goes, too. A look costs as much as half a creation.
        """
        parent = once.item
        new = (parent.get("status") or UNSEEN) == UNSEEN
        if once.seen or (child.owned and new):
            return
        live = await self._read(parent)
        same = live is not None and objects.uid(live) == objects.uid(parent)
        leaving = live is not None and objects.metadata(live).get("deletionTimestamp")
        if not same or (leaving and not objects.metadata(parent).get("deletionTimestamp")):
            raise errors.Conflict(f"{objects.describe(parent)} is gone")
        once.seen = True

    async def _create(self, once: _Parent, child: Child, desired: Json) -> Problem | None:
        parent = once.item
        meta = desired["metadata"]
        place = (objects.qualified(desired), meta["namespace"], meta["name"])
        live = await self._read(desired) if place in self._conflicts else None
        self._conflicts.pop(place, None)
        if live is None:
            await self._require(once, child)
            try:
                self._cache.put(await self._client.create(desired))
                return None
            except errors.AlreadyExists as error:
                live = await self._read(desired)
                if live is None:
                    raise errors.Transient(f"{objects.describe(desired)} came and went") from error
        # The cache did not have it: another replica's, a deletion's remains, or somebody else's.
        if not child.owned and not objects.managed(live) and objects.made_by_us(live):
            await self.restore(live, None)
            raise errors.Replan
        if child.on_conflict is OnConflict.EXISTS:
            return None
        if child.on_conflict is OnConflict.REPLAN:
            self._cache.put(live)
            raise errors.Replan
        if not _ours(live, parent, child):
            self._conflicts[place] = None
            return _conflict(parent, desired, live)
        if not objects.managed(live) or (child.owned and not objects.controller(live)):
            await self.restore(live, parent)
        self._cache.put(live)
        if child.mode is Mode.CREATE_ONCE and child.owned:
            raise errors.Replan  # what is there may be other than what this plan goes on from
        return await self._reconcile(parent, child, desired, live)

    async def _reconcile(
        self, parent: objects.Object, child: Child, desired: Json, live: objects.Object
    ) -> Problem | None:
        if not _ours(live, parent, child):
            if child.on_conflict is not OnConflict.NAME_CONFLICT:
                return None  # planned in the knowledge of it
            return _conflict(parent, desired, live)
        if child.mode is Mode.CREATE_ONCE or objects.metadata(live).get("deletionTimestamp"):
            return None
        path = difference(desired, live)
        uid, digest = objects.uid(live), _digest(desired)
        if path is None or self._unsettled.get(uid) == (digest, objects.version(live)):
            return None
        logger.info("%s: applying, %s differs", objects.describe(desired), path)
        try:
            applied = await self._apply(desired, live)
        except errors.NotFound as error:
            raise errors.Conflict(f"{objects.describe(desired)} is gone") from error
        self._cache.put(applied)
        path = difference(desired, applied)
        if path is not None:
            logger.warning("%s: the API server keeps %s otherwise", objects.describe(live), path)
            self._unsettled[uid] = (digest, objects.version(applied))
        return None

    async def _apply(self, desired: Json, live: objects.Object) -> Json:
        await claim(self._client, desired, live)
        body = desired | {"metadata": desired["metadata"] | {"uid": objects.uid(live)}}
        return await self._client.patch(desired, APPLY, body)


def prepare(parent: objects.Object, child: Child) -> Json:
    """The manifest as it is sent: with namespace, owner, and the mark by which we know it."""
    desired = deepcopy(child.manifest)
    meta = desired["metadata"]
    meta.setdefault("namespace", objects.metadata(parent)["namespace"])
    if child.owned:
        meta["ownerReferences"] = [objects.owner_reference(parent)]
    if child.owned or child.mode is Mode.APPLY:
        owner = objects.uid(parent) if child.owned else ""
        mark = f"{owner}/{_digest(desired)}"
        meta["annotations"] = {**(meta.get("annotations") or {}), contract.ANNOTATION_APPLIED: mark}
    return desired


def marked_owner(live: objects.Object) -> str:
    """The uid of the parent that an object was made for, by the mark `prepare` leaves on it."""
    annotations = objects.metadata(live).get("annotations") or {}
    return str(annotations.get(contract.ANNOTATION_APPLIED) or "").partition("/")[0]


def _merged(live: objects.Object, meta: Json) -> Json:
    """The whole object with these metadata; it carries the version it was read at."""
    labels = {**(objects.metadata(live).get("labels") or {}), **meta["labels"]}
    return {**live, "metadata": {**objects.metadata(live), **meta, "labels": labels}}


def _digest(desired: Json) -> str:
    text = json.dumps(desired, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _ours(live: objects.Object, parent: objects.Object, child: Child) -> bool:
    if not child.owned:
        return objects.managed(live)
    controller = objects.controller(live)
    owner = controller["uid"] if controller else marked_owner(live)
    return bool(owner == objects.uid(parent))


def _conflict(parent: objects.Object, desired: Json, live: objects.Object) -> Problem:
    controller = objects.controller(live)
    same = objects.owner_reference(parent)
    if controller and all(controller[key] == same[key] for key in ("apiVersion", "kind", "name")):
        # It belongs to an earlier object of our parent's name: garbage collection takes it.
        raise errors.Transient(f"{objects.describe(desired)} of a predecessor is still there")
    if controller:
        whose = f"{controller['kind']} {controller['name']}"
    else:  # A Monitor's run, which outlives it, has no controller.
        whose = "another object of Everloop's" if objects.made_by_us(live) else "nobody we know"
    return Problem(
        contract.REASON_NAME_CONFLICT,
        f"{objects.describe(desired)} exists and belongs to {whose}; it is left alone. "
        f"Delete or rename it, or use another name for this {parent['kind']}.",
    )
