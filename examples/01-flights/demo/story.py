"""The life of one model, from January to the end of July 2013: the phases, in order.

Every phase does what a user or the world does (apply a manifest, send requests, let labels arrive)
and then waits for what Everloop must do by itself. What does not happen in time ends the demo with
what was seen instead; what must not happen is watched for all the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from demo import scoring
from demo.cluster import Cluster, Object, UnexpectedError
from demo.data import Flights, Store
from demo.narration import conditions, reason, short, traffic, trigger
from demo.replay import ONE_IN, Replay
from demo.setting import MANIFESTS, NAMESPACE, Operator, clean, prepare
from demo.timeline import Timeline
from demo.watch import Prometheus, Snapshot, Watch

SEARCH, MODEL, V1, V2 = "flights-search", "flights", "flights-v1", "flights-v2"
COMPARE = "flights-compare"
FIRST, SEARCHED = date(2013, 1, 1), date(2013, 2, 23)  # what the search may see
QUIET = (date(2013, 2, 24), date(2013, 2, 28))
CONTROL = (date(2013, 3, 1), date(2013, 3, 7))
SUMMER, LABELLED = date(2013, 7, 1), date(2013, 7, 15)
UNSEEN = (date(2013, 7, 16), date(2013, 7, 31))
LAST = date(2013, 8, 31)
DAY = timedelta(days=1)
FAST_FORWARD = 1.0  # seconds a day
WINDOW_DAYS = 1


@dataclass
class Demo:
    """What the phases share, and what they found out."""

    cluster: Cluster
    operator: Operator
    store: Store
    flights: Flights
    timeline: Timeline
    watch: Watch
    replay: Replay
    control: bool = False
    aucs: dict[str, float] = field(default_factory=dict)
    caused: list[str] = field(default_factory=list)
    quiet_peak: float | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def day_seconds(self) -> float:
        """Seconds of real time in a simulated day."""
        return self.replay.day_seconds

    async def play(self) -> None:
        """Everything."""
        await self.search()
        await self.serve()
        async with self.cluster.forward(NAMESPACE, f"svc/{MODEL}", 80) as address:
            self.replay.url = f"http://{address}/v2/models/{MODEL}/infer"
            await self.quiet()
            await self.drift()
            summer = asyncio.create_task(self.replay.play(LABELLED + DAY, LAST, stop=self._over))
            try:
                await self.retrain()
                await self.rollout()
                await self.silence()
            finally:
                self._over.set()
                await summer
            await self.replay.drain()
        await self.compare()
        if self.replay.tally.failed:
            raise UnexpectedError(
                f"{self.replay.tally.failed} requests failed: {self.replay.tally.failures}"
            )

    async def search(self) -> None:
        """January and February: four trials, the best is registered."""
        self.timeline.heading("1. Search: January and February")
        await self.cluster.apply(MANIFESTS / "10-experiment.yaml")
        self.timeline.event("Experiment applied: 4 trials, 2 at a time")

        def registered(now: Snapshot) -> str | None:
            _must_not_fail(now.one("experiments", SEARCH))
            complete = now.condition("experiments", SEARCH, "Complete") == "True"
            version = now.status("experiments", SEARCH).get("modelVersion")
            return str(version) if complete and version in now.objects["modelversions"] else None

        version = await self.watch.until("the search registers its best", registered, 240)
        if version != V1:
            raise UnexpectedError(f"the first version of a new model is {V1}, not {version}")

    async def serve(self) -> None:
        """The best trial behind an address, and a Monitor beside it."""
        self.timeline.heading("2. Serve it and watch it")
        await self.cluster.apply(MANIFESTS / "20-deployment.yaml")
        await self.cluster.apply(MANIFESTS / "30-monitor.yaml")
        self.timeline.event("Deployment and Monitor applied")

        def serving(now: Snapshot) -> bool:
            _must_not_stall(now.one("deployments", MODEL))
            champion = now.status("deployments", MODEL).get("champion")
            return champion == V1 and now.condition("deployments", MODEL, "Ready") == "True"

        await self.watch.until(f"{V1} serves", serving, 120)

        def watching(now: Snapshot) -> bool:
            _must_not_stall(now.one("monitors", MODEL))
            wanted = ("RulesLoaded", "TargetsUp")
            return all(now.condition("monitors", MODEL, one) == "True" for one in wanted)

        await self.watch.until("its rules are loaded and its targets scraped", watching, 120)
        self.timeline.event("Prometheus has the Monitor's rules and scrapes its targets")

    async def quiet(self) -> None:
        """Days of the same winter that the search never saw: nothing may happen."""
        first, last = QUIET
        self.timeline.heading(f"3. {first} to {last}, winter as before: nothing may happen")
        self.timeline.event(f"replay of {first} to {last} begins")
        end_guard = self.watch.forbid(_drift_or_run)
        fill = asyncio.create_task(self._fill())
        await self._guarded(self.replay.play(first, last))
        self.quiet_peak = await self._peak(first, last)
        self.timeline.event(
            f"{(last - first).days + 1} days replayed, no alert and no run; drift was at most "
            f"{short(self.quiet_peak)} of its bound"
        )
        if self.control:
            first, last = CONTROL
            self.timeline.heading(f"3b. Negative control: {first} to {last}, undrifted as well")
            await self._guarded(self.replay.play(first, last))
            self.timeline.event(f"{(last - first).days + 1} days more, no alert and no run")
        files, rows = await fill
        end_guard()
        self.timeline.event(f"meanwhile {files} days of labels to June 30 arrived: {rows} flights")

    async def _fill(self) -> tuple[int, int]:
        return await self.flights.upload(self.store, SEARCHED + DAY, SUMMER - DAY)

    async def drift(self) -> None:
        """July: warmer than anything in the reference. Then the labels arrive."""
        self.timeline.heading("4. July: nobody has told the model that it is summer")
        self.timeline.event(f"the replay goes on with {SUMMER}")
        stop = asyncio.Event()
        july = asyncio.create_task(
            self.replay.play(SUMMER, SUMMER + 7 * DAY, stop=stop, after_day=self._labels)
        )
        try:
            self._tell_cause(
                await self.watch.until("July's drift causes a run", self._caused_run, 90)
            )
        finally:
            stop.set()
            replayed = await july
        self.timeline.line(
            f"fast-forward to {LABELLED}: a day a second, each day's labels arrive after it"
        )
        await self.replay.play(
            replayed + DAY,
            LABELLED,
            day_seconds=FAST_FORWARD,
            # fewer flights in less time: as many requests a second as before
            one_in=round(ONE_IN * self.day_seconds / FAST_FORWARD),
            after_day=self._labels,
        )
        self.timeline.event(f"labels up to {LABELLED} have arrived")

    def _caused_run(self, now: Snapshot) -> Object | None:
        caused = now.caused(MODEL)
        return caused[0] if caused else None

    def _tell_cause(self, run: Object) -> None:
        why = trigger(run)
        moved = ", ".join(why.get("top") or [])
        self.caused.append(run["metadata"]["name"])
        self.timeline.event(
            f"run {run['metadata']['name']} because {why.get('signal')}: drift is "
            f"{short(why.get('value'))} times its bound over two days; "
            f"most moved: {moved or 'not recorded'}"
        )

    async def _labels(self, day: date) -> None:
        await self.flights.upload(self.store, day, day)

    async def retrain(self) -> None:
        """The run waited for its data; it reads them, trains, and is compared with the champion."""
        self.timeline.heading("5. Train again, on all that has arrived since")
        name = self.caused[0]

        def registered(now: Snapshot) -> bool:
            run = now.one("trainingruns", name)
            _must_not_fail(run)
            version = run.get("status", {}).get("modelVersion")
            if now.condition("trainingruns", name, "Complete") == "True" and not version:
                raise UnexpectedError(f"run {name} registered nothing: {reason(run)}")
            return bool(version)

        await self.watch.until(f"run {name} registers {V2}", registered, 180)

    async def rollout(self) -> None:
        """10, 50, 100 %: each step is held until the analysis passes."""
        self.timeline.heading("6. Challenger and champion side by side")

        def promoted(now: Snapshot) -> bool:
            status = now.status("deployments", MODEL)
            for one in status.get("rejected") or []:
                raise UnexpectedError(
                    f"{one['modelVersion']} was rejected: {one['reason']} {one['message']}"
                )
            return status.get("champion") == V2 and not status.get("challenger")

        await self.watch.until(f"{V2} is promoted", promoted, 240)

    async def silence(self) -> None:
        """The new champion knows summer."""
        self.timeline.heading("7. The new champion: silent")

        def judged(now: Snapshot) -> bool:
            status = now.status("monitors", MODEL)
            signals = {one["name"]: one["state"] for one in status.get("signals") or []}
            if status.get("champion") == V2 and signals.get("InputDrift") == "Firing":
                raise UnexpectedError("the new champion drifts from the start")
            return status.get("champion") == V2 and signals.get("InputDrift") == "OK"

        await self.watch.until(f"the Monitor has enough requests to judge {V2}", judged, 120)
        end_guard = self.watch.forbid(_drift_or_run_of(len(self.caused)))
        self.timeline.line("one day more, to be sure")
        until = asyncio.sleep(WINDOW_DAYS * self.day_seconds)
        await self._guarded(until)
        end_guard()
        self.timeline.event(f"{V2} has been judged on two windows and a day more: no signal fires")

    async def compare(self) -> None:
        """Both versions on flights that neither has seen."""
        first, last = UNSEEN
        self.timeline.heading(f"8. Both models on {first} to {last}, by their own Services")
        await self.cluster.apply(MANIFESTS / "40-compare.yaml")

        def ready(now: Snapshot) -> bool:
            return now.condition("deployments", COMPARE, "Ready") == "True" and bool(
                traffic(now.one("deployments", COMPARE))
            )

        await self.watch.until(f"mldep {COMPARE} is ready", ready, 90)
        for version in (V1, V2):
            name = f"{COMPARE}-{version.removeprefix(f'{MODEL}-')}"
            service = scoring.Service(NAMESPACE, name, MODEL)
            self.aucs[version] = await scoring.auc(self.cluster, service, self.flights, UNSEEN)
        old, new = self.aucs[V1], self.aucs[V2]
        self.timeline.event(f"AUC on {first} to {last}: {V1} {old:.3f}, {V2} {new:.3f}")
        if new <= old:
            raise UnexpectedError(f"{V2} was promoted and is not better on unseen flights")

    async def _guarded(self, doing: Awaitable[object]) -> None:
        """Wait for something while the guards watch."""
        task = asyncio.ensure_future(doing)
        done: Callable[[Snapshot], bool] = lambda _: task.done()  # noqa: E731
        try:
            await self.watch.until("the replay ends", done, 600)
        finally:
            task.cancel()

    async def _peak(self, first: date, last: date) -> float | None:
        seconds = round(self.day_seconds * ((last - first).days + 1))
        prometheus = Prometheus(self.cluster, self.operator.prometheus)
        return await prometheus.value(
            f'max(max_over_time(everloop:drift:ratio{{everloop_namespace="{NAMESPACE}", '
            f'side="input"}}[{seconds}s]))'
        )


async def set_up(cluster: Cluster, store: Store, timeline: Timeline) -> Flights:
    """Remove an earlier run, put January and February into the store, make the namespace."""
    timeline.heading("0. The data: flights that left New York in 2013")
    loading = asyncio.create_task(Flights.load())
    await clean(cluster, store, timeline)
    await prepare(cluster, store)
    flights = await loading
    files, rows = await flights.upload(store, FIRST, SEARCHED)
    timeline.event(f"{files} days of labelled flights stored, {FIRST} to {SEARCHED}: {rows} rows")
    return flights


def progress(replay: Callable[[], Replay | None]) -> Callable[[Snapshot], str]:
    """The line that is printed every few seconds."""

    def line(now: Snapshot) -> str:
        player = replay()
        if player is None or player.day is None:
            under_way = [
                f"{name}: {conditions(run).get('Ready', {}).get('message') or 'starting'}"
                for name, run in now.objects["trainingruns"].items()
                if not {"Complete", "Failed"} & conditions(run).keys()
            ]
            return " | ".join(under_way)
        drift = "no verdict yet" if now.drift is None else f"{short(now.drift)} of its bound"
        return (
            f"{player.tally.rate():.0f} requests/s, {player.tally.failed} failed | "
            f"drift {drift} | {traffic(now.one('deployments', MODEL)) or 'no traffic yet'}"
        )

    return line


def _drift_or_run(now: Snapshot) -> str:
    return _drift_or_run_of(0)(now)


def _drift_or_run_of(runs: int) -> Callable[[Snapshot], str]:
    """Speaks when a signal fires, or when the Monitor has made more runs than these."""

    def guard(now: Snapshot) -> str:
        for one in now.status("monitors", MODEL).get("signals") or []:
            if one["state"] == "Firing":
                return f"{one['name']} fires on undrifted days: {one}"
        if len(caused := now.caused(MODEL)) > runs:
            return f"a run on undrifted days: {caused[-1]['metadata']['name']}"
        return ""

    return guard


def _must_not_fail(item: Object) -> None:
    if conditions(item).get("Failed", {}).get("status") == "True":
        raise UnexpectedError(f"{item['metadata']['name']} failed: {reason(item, 'Failed')}")


def _must_not_stall(item: Object) -> None:
    if conditions(item).get("Stalled", {}).get("status") == "True":
        raise UnexpectedError(f"{item['metadata']['name']} is stalled: {reason(item, 'Stalled')}")
