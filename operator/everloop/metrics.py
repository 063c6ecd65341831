"""The operator's own metrics, for Prometheus and for `/healthz`."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

INTAKE_FAILED = "intake-failed"  # an outcome: a server or poller ended, and begins again
BUG = "bug"  # an error of a pass that nobody foresaw


class Metrics:
    """One set of metrics, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.queue_depth = Gauge(
            "everloop_operator_queue_depth", "Keys that wait.", registry=self.registry
        )
        self.backing_off = Gauge(
            "everloop_operator_backing_off",
            "Keys whose last pass failed, and which are tried again later.",
            registry=self.registry,
        )
        self.running = Gauge(
            "everloop_operator_reconciles_running", "Passes under way.", registry=self.registry
        )
        self.reconcile_seconds = Histogram(
            "everloop_operator_reconcile_seconds",
            "Time of one pass.",
            ["kind"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.errors = Counter(
            "everloop_operator_reconcile_errors",
            "Passes that failed, by what met them.",
            ["kind", "error"],
            registry=self.registry,
        )
        self.leader = Gauge(
            "everloop_operator_leader", "1 while this process acts.", registry=self.registry
        )
        self.api_requests = Counter(
            "everloop_operator_api_requests",
            "Requests to the API server; status 0 is no answer.",
            ["verb", "resource", "status"],
            registry=self.registry,
        )
        self.watch_events = Counter(
            "everloop_operator_watch_events",
            "Events received.",
            ["resource"],
            registry=self.registry,
        )
        self.cached = Gauge(
            "everloop_operator_cached_objects",
            "Objects known.",
            ["resource"],
            registry=self.registry,
        )
        self.missed = Counter(
            "everloop_operator_watch_missed",
            "Objects that a list knew better than the watch.",
            ["resource"],
            registry=self.registry,
        )
        self.watches_dead = Gauge(
            "everloop_operator_watches_dead",
            "Watches that are proven dead; the liveness probe fails.",
            registry=self.registry,
        )
        self.outcomes = Counter(
            "everloop_operator_outcomes",
            "What plans and intakes counted.",
            ["name"],
            registry=self.registry,
        )
        self.events_dropped = Counter(
            "everloop_operator_events_dropped",
            "Kubernetes Events given up.",
            registry=self.registry,
        )
        self.outcomes.labels(INTAKE_FAILED)  # from 0 on, so that the first can be seen by alerts
        self.ages = WatchAges()
        self.registry.register(self.ages)
        self.registry.register(Tasks())
        ProcessCollector(registry=self.registry)  # memory and open files, from /proc

    def increase(self, name: str, amount: int = 1) -> None:
        """Count something that happened (handlers.kind.Counters)."""
        self.outcomes.labels(name).inc(amount)

    def api_request(self, verb: str, resource: str, status: int) -> None:
        """Count a request to the API server (the client's `observe`)."""
        self.api_requests.labels(verb, resource, str(status)).inc()


class WatchAges(Collector):
    """Seconds since the last event of each watch, computed when asked."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def seen(self, resource: str) -> None:
        """An event, or the start of the watch."""
        self._last[resource] = time.monotonic()

    def collect(self) -> list[GaugeMetricFamily]:
        """For the registry."""
        ages = GaugeMetricFamily(
            "everloop_operator_watch_age_seconds",
            "Seconds since the last event of a watch.",
            labels=["resource"],
        )
        now = time.monotonic()
        for resource, last in self._last.items():
            ages.add_metric([resource], now - last)
        return [ages]


class Tasks(Collector):
    """Tasks of the event loop that asks. A number that only grows is a leak."""

    def collect(self) -> list[GaugeMetricFamily]:
        """For the registry; nothing where no loop runs."""
        try:
            count = len(asyncio.all_tasks())
        except RuntimeError:
            return []
        return [
            GaugeMetricFamily(
                "everloop_operator_tasks", "Tasks of the event loop.", value=float(count)
            )
        ]
