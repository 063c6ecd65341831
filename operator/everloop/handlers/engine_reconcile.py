"""One pass over one parent: observe, plan, apply, write the status once, tell, plan the next."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from everloop import contract, errors
from everloop.api import conditions
from everloop.cluster import objects, status
from everloop.cluster.apply import Applier, Problem
from everloop.cluster.cache import Cache
from everloop.cluster.client import Client
from everloop.cluster.events import Recorder
from everloop.handlers.engine_queue import Queue
from everloop.handlers.kind import Key, Kind, Object
from everloop.metrics import BUG, Metrics
from everloop.plans.plan import Plan

logger = logging.getLogger(__name__)
OBSERVE_SECONDS = 30.0  # Prometheus or a router that does not answer must not hold a worker
OURS = f"{contract.GROUP}/"  # prefix of our finalizers
SOONEST_SECONDS = 0.1  # a plan that asks for a moment that has passed
RESTLESS = 10  # passes in a row that changed the status: from then on they are slowed down
# Only a change of the spec (or of the cluster) helps; the others may go away by themselves.
_TERMINAL = {errors.Invalid.condition, contract.REASON_NAME_CONFLICT, errors.NotServed.condition}


class Reconciler:
    """Runs passes. `seen` takes what was read."""

    def __init__(
        self,
        kinds: Mapping[str, Kind[Any]],
        *,
        client: Client,
        cache: Cache,
        queue: Queue,
        recorder: Recorder,
        metrics: Metrics,
        seen: Callable[[Object], Awaitable[None]],
        outside: Any,
    ) -> None:
        self._kinds = kinds
        self._client = client
        self._cache = cache
        self._queue = queue
        self._recorder = recorder
        self._metrics = metrics
        self._seen = seen
        self._outside = outside
        self._restless: dict[Key, int] = {}
        self._going: dict[Key, str] = {}  # uid of a parent whose namespace is being deleted
        self.applier = Applier(client, cache, seen)

    async def work(self) -> None:
        """A worker: passes for ever."""
        while True:
            key = await self._queue.get()
            try:
                await self._once(key)
            finally:
                restless = self._restless.get(key, 0) - RESTLESS
                self._queue.done(key, delay=min(0.1 * 2**restless, 10.0) if restless > 0 else 0.0)

    async def _once(self, key: Key) -> None:
        started, at_least = time.monotonic(), 0.0
        try:
            retry = await self._pass(key)
        except errors.Terminating:
            self._give_up(key)
            retry = False
        except errors.Replan:
            retry = True
        except errors.Conflict as error:
            logger.debug("%s: %s", key, error)
            await self._refresh(key)
            retry = True
        except errors.ApiError as error:
            self._metrics.errors.labels(key.kind, error.label).inc()
            logger.warning("%s: %s", key, error)
            retry, at_least = True, error.retry_after
        except TimeoutError:
            self._metrics.errors.labels(key.kind, "timeout").inc()
            logger.warning("%s: observing took more than %s s", key, OBSERVE_SECONDS)
            retry = True
        except Exception:
            self._metrics.errors.labels(key.kind, BUG).inc()
            logger.exception("%s: the pass failed", key)
            retry = True
        if retry:
            self._queue.failed(key, at_least)
        else:
            self._queue.succeeded(key)
        self._metrics.reconcile_seconds.labels(key.kind).observe(time.monotonic() - started)

    async def _pass(self, key: Key) -> bool:
        """Returns whether to try again with backoff."""
        self._queue.cancel_timer(key)
        kind = self._kinds[key.kind]
        qualified = objects.qualify(kind.resource.kind, kind.resource.group)
        parent = self._cache.get(qualified, key.namespace, key.name)
        if parent is None or _leaving(parent):
            self._restless.pop(key, None)
            self._going.pop(key, None)
            return False
        if self._going.get(key) == objects.metadata(parent)["uid"]:
            return False
        now = datetime.now(UTC)
        try:
            async with asyncio.timeout(OBSERVE_SECONDS):
                observed = await kind.observe(parent, self._cache, self._outside)
            plan = kind.plan(observed, now)
        except errors.InvalidSpec as error:
            plan = Plan(status=_stalled(parent, str(error), now))
        if plan.finalizers is not None and not objects.metadata(parent).get("deletionTimestamp"):
            parent = await self._finalizers(parent, plan.finalizers)
        problems = await self._apply(parent, plan)
        if plan.unmade is not None and not all(problem.apart for problem in problems):
            plan = replace(plan, status=plan.unmade, events=())
        wrote = False
        if problems or not (plan.passing and self._queue.woken(key)):
            wrote = await self._status(key, parent, plan, problems, now)
        if plan.finalizers is not None and objects.metadata(parent).get("deletionTimestamp"):
            await self._finalizers(parent, plan.finalizers)
        for event in plan.events:
            self._recorder.record(parent, event)
        for name, amount in plan.counters.items():
            self._metrics.increase(name, amount)
        if plan.requeue_at is not None:
            seconds = (plan.requeue_at - now).total_seconds()
            self._queue.add_after(key, max(seconds, SOONEST_SECONDS))
        if wrote:
            self._restless[key] = self._restless.get(key, 0) + 1
        else:
            self._restless.pop(key, None)
        return any(problem.reason != errors.Invalid.condition for problem in problems)

    def _give_up(self, key: Key) -> None:
        """A namespace that is being deleted stays so: what leaves it is no reason to try again."""
        kind = self._kinds[key.kind].resource
        qualified = objects.qualify(kind.kind, kind.group)
        parent = self._cache.get(qualified, key.namespace, key.name)
        if parent is not None:
            self._going[key] = objects.metadata(parent)["uid"]

    async def _apply(self, parent: Object, plan: Plan) -> Sequence[Problem]:
        problems = await self.applier.children(parent, plan.children)
        for patch in plan.patches:
            await self.applier.patch(patch)
        for deletion in plan.deletions:
            await self.applier.delete(deletion)
        return problems

    async def _status(
        self, key: Key, parent: Object, plan: Plan, problems: Sequence[Problem], now: datetime
    ) -> bool:
        wanted = plan.status
        if problems:
            base = dict(wanted if wanted is not None else parent.get("status") or {})
            wanted = base | {"conditions": _with_problems(parent, base, problems, now)}
        if wanted is None:
            return False
        live = await status.write(self._client, parent, wanted)
        if live is None:
            return False
        woken = self._queue.woken(key)
        self._cache.put(live)
        if not woken and not self._kinds[key.kind].reads_own_status:
            self._queue.unwake(key)
        return True

    async def _finalizers(self, parent: Object, wanted: tuple[str, ...]) -> Object:
        live = await status.write_finalizers(self._client, parent, wanted, OURS)
        if live is None:
            return parent
        self._cache.put(live)
        return live

    async def _refresh(self, key: Key) -> None:
        """The cache was behind: read the parent, so that the next pass is not in vain."""
        resource = self._kinds[key.kind].resource
        qualified = objects.qualify(resource.kind, resource.group)
        known = self._cache.get(qualified, key.namespace, key.name)
        try:
            live = await self._client.get(
                resource.api_version, resource.kind, key.namespace, key.name
            )
        except errors.ApiError:
            return
        if live is not None:
            await self._seen(live)
        elif known is not None:
            self._cache.remove(known)


def _leaving(parent: Object) -> bool:
    """Being deleted, and no finalizer of ours keeps it."""
    meta = objects.metadata(parent)
    ours = any(name.startswith(OURS) for name in meta.get("finalizers") or ())
    return bool(meta.get("deletionTimestamp")) and not ours


def _stalled(parent: Object, message: str, now: datetime) -> dict[str, Any]:
    """The status of a parent whose spec cannot be planned."""
    before: Mapping[str, Any] = parent.get("status") or {}
    generation = int(objects.metadata(parent).get("generation") or 0)
    wanted = [
        conditions.condition(contract.READY, False, contract.REASON_INVALID_SPEC, message),
        conditions.condition(contract.STALLED, True, contract.REASON_INVALID_SPEC, message),
    ]
    merged = conditions.merge(before.get("conditions"), wanted, generation, now)
    return {**before, "observedGeneration": generation, "conditions": merged}


def _with_problems(
    parent: Object, base: Mapping[str, Any], problems: Sequence[Problem], now: datetime
) -> list[dict[str, Any]]:
    """The plan's conditions, with what the API server said of the children in their place."""
    first = next((item for item in problems if item.reason in _TERMINAL), problems[0])
    message = "; ".join(problem.message for problem in problems)
    replaced = {contract.READY, contract.RECONCILING, contract.STALLED}
    terminal = first.reason in _TERMINAL
    wanted = [
        *(
            conditions.Condition.model_validate(entry)
            for entry in base.get("conditions") or ()
            if entry["type"] not in replaced
        ),
        conditions.condition(contract.READY, False, first.reason, message),
        conditions.condition(
            contract.STALLED if terminal else contract.RECONCILING, True, first.reason, message
        ),
    ]
    generation = int(objects.metadata(parent).get("generation") or 0)
    before = (parent.get("status") or {}).get("conditions")
    return conditions.merge(before, wanted, generation, now)
