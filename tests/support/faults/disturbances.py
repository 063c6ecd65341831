"""What goes wrong between the operator and the API server."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from everloop import contract
from faults.admin import Admin, Answered
from faults.operators import Operator, Zygote
from faults.proxy import LEASES, Answer, Call, Cut, Disturbance

Moment = Literal["before", "after", "lost"]
TIME_OUT_SECONDS = 16.0  # the operator gives up after 15
WAYS = ("409", "429", "500", "503", "cut", "slow")
MOMENTS: tuple[Moment, ...] = ("before", "after", "lost")


class Kill(Disturbance):
    """The operator dies by SIGKILL at its `number`-th write.

    Before the API server has it, after the operator has the answer, or in between: the write has
    happened, and who made it never hears of it.
    """

    def __init__(self, operator: Operator, number: int, moment: Moment) -> None:
        self._operator = operator
        self._number = number
        self._moment = moment
        self.done: Call | None = None
        self.killed_at = math.inf
        self._met = False

    def happened(self) -> bool:
        """It did, or an upgrade ended the operator in that very moment."""
        return self.done is not None or (self._met and self._operator.upgrades > 0)

    async def arrived(self, call: Call) -> Answer | None:
        self._met = self._met or call.number == self._number
        if self._at("before", call):
            raise Cut
        return None

    async def answered(self, call: Call) -> None:
        if self._at("lost", call):
            raise Cut

    async def delivered(self, call: Call) -> None:
        self._at("after", call)

    def _at(self, moment: Moment, call: Call) -> bool:
        if moment != self._moment or call.number != self._number or self.done is not None:
            return False
        self.done = call
        self.restarts += self._operator.kill()
        self.killed_at = time.monotonic()
        return True


class Upgrade(Kill):
    """The operator dies, and the one that is started in its place is of another release."""

    def __init__(self, operator: Operator, number: int, moment: Moment, release: Zygote) -> None:
        super().__init__(operator, number, moment)
        self._release = release

    def _at(self, moment: Moment, call: Call) -> bool:
        killed = super()._at(moment, call)
        if killed:
            self._operator.zygote = self._release
        return killed


class Failing(Disturbance):
    """For some seconds, some of all requests but the Lease's go wrong, each time in another way.

    Without its Lease an operator ends, and then nothing of how it goes on would be seen.
    It begins with the `number`-th write. Which requests is drawn from a seed. A request is refused
    before the API server has it, or its answer is lost after the API server has done it.
    """

    foreseen = frozenset({"an intake failed; it begins again"})

    def __init__(
        self,
        seed: int,
        *,
        share: float,
        seconds: float,
        number: int,
        ways: Sequence[str] = WAYS,
    ) -> None:
        """`share` of the requests, from 0 to 1; `ways` are of WAYS."""
        self._ways = ways
        self._random = random.Random(seed)
        self._share = share
        self._seconds = seconds
        self._number = number
        self.began = math.inf
        self.failed: Counter[str] = Counter()  # requests by the way they failed
        self.met: list[Call] = []  # requests meanwhile, failed or not

    def happened(self) -> bool:
        return bool(self.failed)

    async def arrived(self, call: Call) -> Answer | None:
        if self.began == math.inf and (call.number or 0) >= self._number:
            self.began = time.monotonic()
        if self._counts(call):
            self.met.append(call)
        if not self._hit(call):
            return None
        way = self._random.choice(self._ways)
        if way == "409" and call.verb not in ("update", "patch", "delete"):
            way = "500"  # a conflict is an answer to a write of what exists
        self.failed[way] += 1
        if way == "slow":
            await asyncio.sleep(TIME_OUT_SECONDS)
        if way in ("cut", "slow"):
            raise Cut
        return refusal(int(way))

    async def answered(self, call: Call) -> None:
        if self._hit(call):
            self.failed["lost"] += 1
            raise Cut

    def _counts(self, call: Call) -> bool:
        return call.resource != LEASES and 0 <= time.monotonic() - self.began < self._seconds

    def _hit(self, call: Call) -> bool:
        # the first one always, so that no trial goes by in peace
        return self._counts(call) and (not self.failed or self._random.random() < self._share)


class Pause(Disturbance):
    """The operator is stopped when the first request that `chosen` picks has been answered.

    It lives and does nothing, and does not know the answer until `resume`.
    """

    def __init__(self, operator: Operator, chosen: Callable[[Call], bool]) -> None:
        self._operator = operator
        self._chosen = chosen
        self._resumed = asyncio.Event()
        self.paused = asyncio.Event()
        self.resumed_at = math.inf

    def happened(self) -> bool:
        return self.resumed_at < math.inf

    async def answered(self, call: Call) -> None:
        if self._chosen(call) and not self.paused.is_set():
            self._operator.pause()
            self.paused.set()
            await self._resumed.wait()

    def resume(self) -> None:
        """It goes on where it was, and ends, since its Lease is somebody else's."""
        self.restarts += 1
        self.resumed_at = time.monotonic()
        self._resumed.set()
        self._operator.resume()


class EraseStatus(Disturbance):
    """At the `number`-th write, or the first after it that finds one, every status of ours is gone.

    Whoever had written it.
    """

    def __init__(self, admin: Admin, namespace: str, number: int) -> None:
        self._admin = admin
        self._namespace = namespace
        self._number = number
        self._turn = asyncio.Lock()  # two writes may be answered at once
        self.erased = 0

    def happened(self) -> bool:
        return self.erased > 0

    async def delivered(self, call: Call) -> None:
        async with self._turn:
            if not self.erased and (call.number or 0) >= self._number:
                self.erased = await erase_status(self._admin, self._namespace)


async def erase_status(admin: Admin, namespace: str) -> int:
    """As a restored backup has it, which leaves out statuses. How many there were."""
    erased = 0
    for plural, kind in admin.kinds.items():
        if not plural.endswith(f".{contract.GROUP}") or "status" not in kind.subresources:
            continue
        for item in admin.list(plural, namespace):
            try:
                await admin.merge(item, {"status": None}, "status")
                erased += bool(item.get("status"))
            except Answered as answered:
                if answered.status != 404:  # it was on its way out
                    raise
    return erased


def refusal(status: int) -> Answer:
    """An answer as the API server gives it when it does not do what it is asked for."""
    reason = {409: "Conflict", 429: "TooManyRequests", 503: "ServiceUnavailable"}.get(status, "")
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": status,
        "reason": reason or "InternalError",
        "message": f"a test answers {status}",
    }
    headers = {"Content-Type": "application/json"}
    if status == 429:
        headers["Retry-After"] = "1"
    return Answer(status, json.dumps(body).encode(), headers)
