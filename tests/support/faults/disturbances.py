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

from faults.operators import Operator, Zygote
from faults.proxy import LEASES, Answer, Call, Cut, Disturbance

Moment = Literal["before", "after", "lost"]
TIME_OUT_SECONDS = 16.0  # the operator gives up after 15
WAYS = ("409", "429", "500", "503", "cut", "slow")
RETRY_AFTER = (1, 5)  # seconds: no longer than the operator would wait by itself, and far longer
QUIET_SECONDS = 0.2  # without a request: the operator waits for answers
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
    Which requests is drawn from a seed. A request is refused before the API server has it, or its
    answer is lost after the API server has done it.
    """

    foreseen = frozenset({"an intake failed; it begins again"})

    def __init__(
        self,
        operator: Operator,
        seed: int,
        *,
        share: float,
        seconds: float,
        begins: Callable[[Call], bool],
        ways: Sequence[str] = WAYS,
        alone: bool = False,
    ) -> None:
        """`share` of the requests, from 0 to 1, from the one on that `begins`; `ways` are of WAYS.

        `begins` is asked of the Lease's, too. Unless the operator's own client is `alone`, kopf
        discovers the same, and does not know what the other was told.
        """
        self._operator = operator
        self._ways = ways
        self._random = random.Random(seed)
        self._share = share
        self._seconds = seconds
        self._begins = begins
        self._alone = alone
        self._refused: dict[str, tuple[float, int]] = {}  # until when, and which process was told
        self.began = math.inf
        self.failed: Counter[str] = Counter()  # requests by the way they failed
        self.met: list[Call] = []  # requests meanwhile, failed or not
        # requests that came again after the long Retry-After that they had met, and before it
        self.patient: list[str] = []
        self.early: list[str] = []

    def happened(self) -> bool:
        return bool(self.failed)

    async def arrived(self, call: Call) -> Answer | None:
        if self.began == math.inf and self._begins(call):
            self.began = call.time
        self._look_at_repeat(call)
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
        wait = self._random.choice(RETRY_AFTER) if way == "429" else 0
        if wait == max(RETRY_AFTER) and (call.resource or self._alone):
            self._refused[_request(call)] = time.monotonic() + wait, self._operator.starts
        return refusal(int(way), wait)

    async def answered(self, call: Call) -> None:
        if self._hit(call):
            self.failed["lost"] += 1
            raise Cut

    def _look_at_repeat(self, call: Call) -> None:
        until, told = self._refused.pop(_request(call), (0.0, 0))
        if told != self._operator.starts:  # it is new, or another process
            return
        if call.time >= until:
            self.patient.append(_request(call))
        else:
            self.early.append(f"{_request(call)}, {until - call.time:.1f} s too early")

    def _counts(self, call: Call) -> bool:
        return call.resource != LEASES and 0 <= time.monotonic() - self.began < self._seconds

    def _hit(self, call: Call) -> bool:
        # the first one always, so that no trial goes by in peace
        return self._counts(call) and (not self.failed or self._random.random() < self._share)


def _request(call: Call) -> str:
    """What makes it another one: all but from where on a watch or a list goes."""
    goes_on = {"resourceVersion", "continue", "timeoutSeconds"}
    query = [f"{name}={call.parameters[name]}" for name in sorted(call.parameters.keys() - goes_on)]
    return " ".join((call.verb, call.path, call.name, *query))


class Pause(Disturbance):
    """The operator is stopped when the first request that `chosen` picks has been answered.

    It lives and does nothing, and does not know the answer until `resume`. It is not stopped with
    another request in its hand: between its last look at its Lease and the kernel's taking of the
    request are some microseconds, which no client can take away.
    """

    def __init__(self, operator: Operator, chosen: Callable[[Call], bool]) -> None:
        self._operator = operator
        self._chosen = chosen
        self._resumed = asyncio.Event()
        self._found = False
        self._arrived = 0.0  # when the last request came
        self.paused = asyncio.Event()
        self.resumed_at = math.inf

    def happened(self) -> bool:
        return self.resumed_at < math.inf

    async def arrived(self, call: Call) -> Answer | None:
        self._arrived = call.time
        return None

    async def answered(self, call: Call) -> None:
        if self._chosen(call) and not self._found:
            self._found = True
            while time.monotonic() - self._arrived < QUIET_SECONDS:  # noqa: ASYNC110 (a clock)
                await asyncio.sleep(0.01)
            self._operator.pause()
            self.paused.set()
            await self._resumed.wait()

    def resume(self) -> None:
        """It goes on where it was, and ends, since its Lease is somebody else's."""
        self.restarts += 1
        self.resumed_at = time.monotonic()
        self._resumed.set()
        self._operator.resume()


def refusal(status: int, retry_after: int = 0) -> Answer:
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
    if retry_after:
        headers["Retry-After"] = str(retry_after)
    return Answer(status, json.dumps(body).encode(), headers)
