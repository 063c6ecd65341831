"""What a Monitor's plan looks at: the snapshot that handlers/monitor.py collects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from everloop.api.deployment import Deployment
from everloop.api.modelversion import ModelVersion
from everloop.api.monitor import Monitor, Signal
from everloop.settings import Settings


@dataclass(frozen=True)
class SeenAlert:
    """An alert of ours that Prometheus reports."""

    signal: Signal
    champion: str  # the version its rule is about
    firing: bool  # or pending
    active_at: datetime
    value: float


@dataclass(frozen=True)
class SeenGroup:
    """A rule group of ours that Prometheus has loaded."""

    name: str
    evaluated: bool
    errors: tuple[str, ...] = ()  # of the last evaluation
    alerts: tuple[SeenAlert, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A series that the rules recorded."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Watch:
    """What Prometheus said just now; with an `error` it said nothing."""

    error: str = ""
    groups: tuple[SeenGroup, ...] = ()
    series: tuple[Measured, ...] = ()
    retention: float | None = None  # seconds

    def one(self, name: str, **labels: str) -> float | None:
        """The value of the only series with these labels, the first of several."""
        return next((item.value for item in self.all(name, **labels)), None)

    def all(self, name: str, **labels: str) -> list[Measured]:
        return [
            item
            for item in self.series
            if item.name == name and labels.items() <= item.labels.items()
        ]


@dataclass(frozen=True)
class SeenRun:
    """A TrainingRun that this Monitor made."""

    name: str
    number: int = 1  # the last part of its name
    model: str = ""
    finished: bool = False
    problem: str = ""  # why it cannot go on by itself
    ended: datetime | None = None
    version: str = ""  # that came of it
    made: str = ""  # its creationTimestamp
    trigger: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A decision to retrain, as kept in the cluster's history."""

    run: str
    signal: str
    token: str  # of a person's request; empty for an alert
    time: datetime


@dataclass(frozen=True)
class Observed:
    """A Monitor and everything its next step depends on."""

    monitor: Monitor
    raw_status: Mapping[str, Any]
    settings: Settings
    prometheus_operator: bool  # its CRDs exist
    deployment: Deployment | None = None
    champion: ModelVersion | None = None
    champion_ended: datetime | None = None  # when the run that made the champion ended
    # versions newer than the champion that may challenge it: not rejected, gates not known to fail
    waiting: tuple[str, ...] = ()
    watch: Watch | None = None  # None: the chart names no Prometheus
    run_names: tuple[str, ...] = ()  # every TrainingRun of the namespace
    runs: tuple[SeenRun, ...] = ()  # those this Monitor made
    records: tuple[Record, ...] = ()
    rules: tuple[Mapping[str, Any], ...] = field(default=())  # its PrometheusRule or ConfigMap
