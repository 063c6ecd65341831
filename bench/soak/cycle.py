"""One need after the other: the world moves, one run is made, its version takes over, silence."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from e2e import Object

from bench.soak.cluster import operator
from bench.soak.manifests import NAME
from bench.soak.verdict import differences, expected
from bench.soak.world import World

# In which cycle the operator's pod is deleted, and when: all early, so that the last process lives
# long enough to be judged.
RESTARTS = {2: "shifted", 5: "run made", 8: "on trial"}
EDIT_EVERY, BY_HAND_EVERY = 4, 5
SETTLED = 3  # looks in a row that see the same


@dataclass
class Cycle:
    """What is kept of one."""

    number: int
    run: str = ""
    version: str = ""
    seconds: dict[str, float] = field(default_factory=dict)  # from the shift to each phase
    disturbed: list[str] = field(default_factory=list)


class Loop:
    """The needs so far. Raises AssertionError or RuntimeError when one is not met as it must be."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.needs = 0
        self.wrong: list[str] = []  # of the objects, when they were counted last
        self.base = self._settle()
        self._shifted = 0.0
        self._cycle = Cycle(0)

    def play(self) -> dict[str, Any]:
        """One cycle; what is kept of it."""
        world = self.world
        champion = world.champion()
        cycle = self._cycle = Cycle(self.needs + 1)
        self._by_hand(cycle)
        world.wait("no drift before the need", lambda: world.silent(champion))
        self._shifted = time.monotonic()
        world.shift()
        self.needs += 1
        self._phase("shifted")
        run = world.wait("a run is made", self._new_run)
        cycle.run = run["metadata"]["name"]
        trigger = json.loads(run["metadata"]["annotations"]["everloop.dev/trigger"])
        found = (trigger["signal"], trigger["champion"])
        assert found == ("InputDrift", champion), f"{cycle.run}: {trigger}"
        self._phase("run made")
        cycle.version = world.wait("it is trained", lambda: world.version_of(cycle.run))
        self._phase("trained")
        world.wait("it is on trial", self._on_trial)
        self._phase("on trial")
        world.wait("it is promoted", self._promoted)
        self._phase("promoted")
        world.wait("the Monitor is silent", lambda: world.silent(cycle.version))
        self._phase("silent")
        objects = world.wait("as many objects as there must be", self._at_rest)
        self._phase("rest")
        runs, decisions = len(world.caused()), world.decisions()
        assert runs == decisions == self.needs, f"{self.needs} needs: {runs} runs, {decisions}"
        return vars(cycle) | {
            "needs": self.needs,
            "runs": runs,
            "byHand": world.by_hand,
            "base": self.base,
            "objects": objects,
            "operator": operator(world.kube),
            "answers": world.answers(),
        }

    # --- inside -----------------------------------------------------------------------------------
    def _phase(self, name: str) -> None:
        self._cycle.seconds[name] = round(time.monotonic() - self._shifted, 1)
        if RESTARTS.get(self._cycle.number) == name:
            self.world.restart_operator()
            self._cycle.disturbed.append(f"operator deleted ({name})")

    def _by_hand(self, cycle: Cycle) -> None:
        if cycle.number % EDIT_EVERY == 0:
            cycle.disturbed.append(self.world.edit_by_hand(cycle.number // EDIT_EVERY))
        if cycle.number % BY_HAND_EVERY == 0:
            self.world.run_by_hand()
            cycle.disturbed.append("a run by hand")

    def _new_run(self) -> Object:
        runs = self.world.caused()
        assert len(runs) <= self.needs, f"{self.needs} needs, and {len(runs)} runs"
        return runs[-1] if len(runs) == self.needs else {}

    def _on_trial(self) -> bool:
        status = self._status()
        version = self._cycle.version
        return version in (status.get("challenger"), status.get("champion"))

    def _promoted(self) -> bool:
        status = self._status()
        return status.get("champion") == self._cycle.version and not status.get("challenger")

    def _status(self) -> Object:
        status: Object = self.world.get("mldep", NAME).get("status", {})
        for one in status.get("rejected") or []:
            raise RuntimeError(f"{one['modelVersion']} was rejected: {one}")
        return status

    def _at_rest(self) -> dict[str, int]:
        found = self.world.objects()
        wanted = expected(self.base, self.needs, self.world.by_hand)
        self.wrong = differences(wanted, found)
        return {} if self.wrong or not _idle(self.world) else found

    def _settle(self) -> dict[str, int]:
        """Objects there are once nothing changes any more."""
        seen: list[dict[str, int]] = []

        def look() -> bool:
            seen.append(self.world.objects())
            last = seen[-SETTLED:]
            calm = len(last) == SETTLED and all(one == last[0] for one in last)
            return calm and "job" not in last[0] and _idle(self.world)

        self.world.wait("nothing changes", look)
        return seen[-1]


def _idle(world: World) -> bool:
    found = operator(world.kube)
    return bool(found) and found["queue"] == 0 and found["running"] == 0
