"""Statuses that are lost all at once, as a restored backup has them, which leaves statuses out."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Literal

from everloop import contract
from everloop.api.conditions import UNSEEN
from faults.admin import Admin, Answered, Json
from faults.operators import Operator
from faults.proxy import Answer, Call, Disturbance

Manner = Literal["paused", "killed"]
LATE_SECONDS = 2.0
DUE_SECONDS = 5.0
MANNERS: tuple[Manner, ...] = ("paused", "killed")


class EraseStatus(Disturbance):
    """At the `number`-th write, or the first after it that finds one, every status of ours is gone.

    Whoever had written it. The operator is stopped meanwhile, so that it repairs nothing before the
    last one is gone. Then it goes on and hears of all losses at once, or it is killed, and the next
    one starts with no status at all.
    """

    def __init__(
        self, admin: Admin, operator: Operator, namespace: str, manner: Manner, number: float
    ) -> None:
        """With an infinite `number` it happens `now`, or never."""
        self._admin = admin
        self._operator = operator
        self._namespace = namespace
        self._manner = manner
        self._number = number
        self._turn = asyncio.Lock()  # two writes may be answered at once
        self._door = asyncio.Event()  # for requests
        self._door.set()
        self._reached_at = math.inf
        self.erased = 0

    @property
    def due(self) -> bool:
        """It is about to happen: whoever deletes what has a status should wait for it.

        But not for long: an operator that ends with the write under way leaves it to a later write.
        """
        return not self.erased and 0 <= time.monotonic() - self._reached_at < DUE_SECONDS

    def happened(self) -> bool:
        return self.erased > 0

    async def arrived(self, call: Call) -> Answer | None:
        await self._door.wait()
        if (call.number or 0) >= self._number:
            self._reached_at = min(self._reached_at, time.monotonic())
        return None

    async def delivered(self, call: Call) -> None:
        async with self._turn:
            if not self.erased and (call.number or 0) >= self._number:
                await self.now()

    async def now(self) -> None:
        """Where there is none, the operator just goes on."""
        self._operator.pause()
        self._door.clear()
        try:
            self.erased = await erase_status(self._admin, self._namespace)
            if self.erased and self._manner == "killed":
                self.restarts += self._operator.kill()
        finally:
            self._operator.resume()
            self._door.set()


class LateRepair(Disturbance):
    """After a loss, what is called `name` gets its status back seconds after all else has."""

    def __init__(self, loss: EraseStatus, name: str) -> None:
        self._loss = loss
        self._name = name
        self._late = False

    def happened(self) -> bool:
        return self._late

    async def arrived(self, call: Call) -> Answer | None:
        repair = call.resource.endswith("/status") and call.name == self._name
        if repair and self._loss.erased and not self._late:
            self._late = True
            await asyncio.sleep(LATE_SECONDS)
        return None


async def erase_status(admin: Admin, namespace: str) -> int:
    """How many there were. A write that was under way may bring one back: until there is none."""
    erased = 0
    while found := await _with_status(admin, namespace):
        erased += sum(await asyncio.gather(*(_erase(admin, item) for item in found)))
    return erased


async def _with_status(admin: Admin, namespace: str) -> list[Json]:
    """As the API server has them now: the mirror may be behind."""
    kinds = [
        kind
        for plural, kind in admin.kinds.items()
        if plural.endswith(f".{contract.GROUP}") and "status" in kind.subresources
    ]
    lists = await asyncio.gather(*(admin.call("GET", kind.path(namespace)) for kind in kinds))
    items = [
        item
        for kind, listed in zip(kinds, lists, strict=True)
        for item in kind.named(listed.get("items") or ())
    ]
    return [item for item in items if (item.get("status") or UNSEEN) != UNSEEN]


async def _erase(admin: Admin, item: Json) -> bool:
    try:
        await admin.merge(item, {"status": None}, "status")
    except Answered as answered:
        if answered.status != 404:  # it was on its way out
            raise
        return False
    return True
