"""The rollout of a challenger: one step after the other, and back to weight 0 when it fails.

Pure and stateless but for `Progress`, which lives in the status. It may be lost at any time: the
rollout then begins again at its first step. Who is champion and who was rejected is not in it, but
in the history.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from everloop import contract
from everloop.api.deployment import Rollout, RolloutStep, Verdict
from everloop.plans.analysis import Stratum, inconclusive, judge, merge
from everloop.plans.clock import Clock

POLL = timedelta(milliseconds=500)  # how often routers are asked while weights move
WATCH = timedelta(seconds=2)  # how often, while somebody else has to do something


@dataclass(frozen=True)
class Progress:
    """Where a rollout is. `started` is None until the step's weights are in force."""

    challenger: str
    step: int = 0
    started: datetime | None = None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Traffic:
    """What is known of servers and routers."""

    in_force: Mapping[str, int] | None  # as read back; None while routers differ or don't answer
    ready: Collection[str]  # versions with a ready server
    usable: Collection[str]  # versions with all servers ready, reached by all routers
    down_since: Mapping[str, datetime] = field(default_factory=dict)  # versions short of servers
    trouble: Mapping[str, str] = field(default_factory=dict)  # what their pods say
    router_trouble: str = ""  # why a router does not say what is in force


@dataclass(frozen=True)
class Evidence:
    """What an analysis step has to judge by, or why it has nothing."""

    stratum: Stratum | None = None
    problem: str = ""
    lasting: bool = False  # the problem is the configuration's: waiting will not help


@dataclass(frozen=True)
class Outcome:
    """What a pass over the rollout decided."""

    target: dict[str, int]
    progress: Progress
    message: str
    decision: Literal["Promote", "Reject"] | None = None
    reason: str = ""
    look_at: datetime | None = None


def weight_at(steps: Sequence[RolloutStep], index: int) -> int:
    """Percent for the challenger during a step: that of the last weight step up to it, or 0.

    >>> steps = [RolloutStep.model_validate(step) for step in
    ...          ({"pause": {"duration": "1m"}}, {"weight": 10}, {"analysis": {}}, {"weight": 50})]
    >>> [weight_at(steps, index) for index in range(4)]
    [0, 10, 10, 50]
    """
    weights = [step.weight for step in steps[: index + 1] if step.weight is not None]
    return weights[-1] if weights else 0


def split(champion: str, challenger: str, weight: int) -> dict[str, int]:
    """Target weights.

    >>> split("v1", "v2", 10)
    {'v1': 90, 'v2': 10}
    """
    return {champion: 100 - weight, challenger: weight}


def describe(steps: Sequence[RolloutStep], index: int) -> str:
    """A step in words; people count from 1."""
    if index >= len(steps):
        return f"the end of its {len(steps)} steps"
    step = steps[index]
    if step.weight is not None:
        what = f"weight {step.weight}"
    elif step.pause is not None:
        what = f"pause of {step.pause.duration}"
    else:
        what = f"analysis at weight {weight_at(steps, index)}"
    return f"step {index + 1} of {len(steps)}, {what}"


@dataclass(frozen=True)
class Pass:
    """One look at a rollout: what was written, what is the case, and the time."""

    spec: Rollout
    champion: str
    traffic: Traffic
    clock: Clock
    now: datetime

    def advance(self, progress: Progress, evidence: Evidence) -> Outcome:
        """Take the rollout as far as it gets now; steps that are done at once cost no pass.

        That a step is over is written before the weights of the next are asked for: a crash in
        between would take them back to the step that the status names, and judge it again.
        """
        outcome = self._advance(progress, evidence)
        if outcome.decision is None and outcome.progress.step > progress.step:
            return replace(outcome, target=self._target(progress), look_at=self.now)
        return outcome

    def hold(self, progress: Progress) -> Outcome:
        """A suspended rollout: the weights of the step it is at, and nothing else."""
        where = describe(self.spec.steps, progress.step)
        return Outcome(self._target(progress), progress, f"held by spec.suspend at {where}")

    def _advance(self, progress: Progress, evidence: Evidence) -> Outcome:
        rejected = self._never_ready(progress)
        if rejected is not None:
            return rejected
        steps = self.spec.steps
        while progress.step < len(steps):
            outcome = self._step(progress, evidence)
            if not isinstance(outcome, Progress):
                return outcome
            progress = outcome
            evidence = Evidence()  # what was counted belongs to the step before
        return self._decide(progress, "Promote", "RolloutComplete", f"all {len(steps)} steps done")

    def _step(self, progress: Progress, evidence: Evidence) -> Outcome | Progress:
        """What a step says: an outcome to stop at, or, when it is done, the next one."""
        step = self.spec.steps[progress.step]
        obstacle = self._obstacle(progress)
        if obstacle is not None:
            return obstacle
        done = replace(progress, step=progress.step + 1, started=None)
        if step.weight is not None:
            return done
        if progress.started is None:
            progress = replace(progress, started=self.now)
            evidence = Evidence(problem=evidence.problem, lasting=evidence.lasting)
        if step.analysis is not None:
            return self._analyse(progress, evidence)
        assert step.pause is not None, "the CRD lets through exactly one of the three"
        until = (progress.started or self.now) + self.clock.scaled(step.pause.duration)
        if self.now >= until:
            return done
        return self._stay(progress, f"until {_time(until)}{self.clock.note}", until)

    def _obstacle(self, progress: Progress) -> Outcome | None:
        """What keeps a step from beginning, or makes it begin again."""
        traffic, challenger = self.traffic, progress.challenger
        if progress.started is None and challenger not in traffic.usable:
            # No weight is asked for before the challenger can take it.
            before = replace(progress, step=progress.step - 1)
            target = self._target(before if progress.step else progress, first=not progress.step)
            outcome = self._stay(progress, self._missing(challenger), self.now + WATCH)
            return replace(outcome, target=target)
        if traffic.in_force is None:
            message = "waiting for the routers to say which weights are in force"
            if traffic.router_trouble:
                message += f": {traffic.router_trouble}"
            return self._stay(progress, message, self.now + WATCH)
        target = self._target(progress)
        if dict(traffic.in_force) == {name: share for name, share in target.items() if share}:
            return None
        missing = [name for name in (self.champion, challenger) if name not in traffic.ready]
        message = "; ".join(self._missing(name) for name in missing)
        # What is counted while the weights differ is not this step's.
        return self._stay(
            replace(progress, started=None),
            message or "waiting for the weights to be in force",
            self.now + POLL,
        )

    def _analyse(self, progress: Progress, evidence: Evidence) -> Outcome | Progress:
        analysis, stratum = self.spec.analysis, evidence.stratum
        number = sum(1 for step in self.spec.steps if step.analysis is not None)
        verdicts = judge(analysis, stratum, progress.step, number) if stratum else None
        if verdicts is not None:
            progress = replace(progress, verdicts=merge(progress.verdicts, verdicts))
            failed = next((item for item in verdicts if item.verdict == contract.FAIL), None)
            if failed is None:
                return replace(progress, step=progress.step + 1, started=None)
            return self._decide(progress, "Reject", "AnalysisFailed", failed.message)
        started = progress.started or self.now
        until = started + self.clock.scaled(analysis.max_duration)
        late = self.now >= until
        look_at = self.now + self.clock.interval(analysis.interval)
        if not late and not evidence.lasting:
            message = f"since {_time(started)}{self.clock.note}"
            if evidence.problem:
                message += f"; {evidence.problem}"
            return self._stay(progress, message, min(look_at, until))
        within = f"no clear answer within {analysis.max_duration}{self.clock.note}"
        why = evidence.problem or within
        found = inconclusive(analysis, stratum, progress.step, why)
        progress = replace(progress, verdicts=merge(progress.verdicts, found))
        if late and analysis.on_inconclusive == "Reject":
            return self._decide(progress, "Reject", "Inconclusive", why)
        return self._stay(progress, f"inconclusive, held: {why}", look_at)

    def _never_ready(self, progress: Progress) -> Outcome | None:
        """Whether the challenger has been short of servers for longer than readyDeadline.

        Starting takes as long as it takes: the deadline is not divided by the clock's speedup.
        """
        since = self.traffic.down_since.get(progress.challenger)
        deadline = self.spec.ready_deadline
        if since is None or self.now < since + self.clock.real(deadline):
            return None
        trouble = self.traffic.trouble.get(progress.challenger)
        message = f"not ready within {deadline}" + (f": {trouble}" if trouble else "")
        return self._decide(progress, "Reject", "NotReady", message)

    def _decide(
        self, progress: Progress, decision: Literal["Promote", "Reject"], reason: str, message: str
    ) -> Outcome:
        """A decision. The record is written now and acted upon when read back; but a bad version
        loses its traffic at once."""
        target = {self.champion: 100} if decision == "Reject" else self._target(progress)
        return Outcome(target, progress, message, decision, reason, self.now + POLL)

    def _stay(self, progress: Progress, message: str, look_at: datetime) -> Outcome:
        where = describe(self.spec.steps, progress.step)
        return Outcome(self._target(progress), progress, f"{where}: {message}", look_at=look_at)

    def _target(self, progress: Progress, *, first: bool = False) -> dict[str, int]:
        steps = self.spec.steps
        weight = 0 if first else weight_at(steps, min(progress.step, len(steps) - 1))
        return split(self.champion, progress.challenger, weight)

    def _missing(self, version: str) -> str:
        if version in self.traffic.ready and version not in self.traffic.down_since:
            return f"waiting for the routers to reach {version}"
        trouble = self.traffic.trouble.get(version)
        return f"waiting for the servers of {version}" + (f": {trouble}" if trouble else "")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"
