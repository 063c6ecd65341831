"""What the model server exposes to Prometheus; docs/model-server.md has the table.

Rows per bin are kept as numpy arrays and turned into series when Prometheus asks, so counting costs
an addition of arrays and a scrape sees every bin from the beginning, also the empty ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from everloop import contract
from everloop_server.profile import Feature, Profile
from everloop_server.signature import REASONS, Array

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter

MALFORMED = "malformed"  # not JSON, or not a V2 request
NOT_FOUND = "not_found"  # another model's name, or another version's
OTHER = "other"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)
LABELS = ("deployment", "model_version")


class Bins(Collector):
    """Counters of rows by bin, and beside them the reference: fractions, rows, calibration."""

    def __init__(self, profile: Profile, deployment: str, model_version: str) -> None:
        self._labels = [deployment, model_version]
        self._profile = profile
        self._sides: tuple[tuple[str, tuple[Feature, ...]], ...] = (
            (contract.SIDE_INPUT, profile.inputs),
            (contract.SIDE_OUTPUT, profile.outputs),
        )
        self._counts: dict[tuple[str, str], Array] = {
            (side, feature.name): np.zeros(len(feature.bins), dtype=np.int64)
            for side, features in self._sides
            for feature in features
        }

    @property
    def input_names(self) -> list[str]:
        """Inputs that are counted."""
        return [feature.name for feature in self._profile.inputs]

    def count(self, inputs: dict[str, Array], watched: Array) -> None:
        """Count rows that were answered. Called by one thread only."""
        for feature in self._profile.inputs:
            self._counts[contract.SIDE_INPUT, feature.name] += feature.counts(inputs[feature.name])
        for feature in self._profile.outputs:
            self._counts[contract.SIDE_OUTPUT, feature.name] += feature.counts(watched)

    def collect(self) -> Iterator[Metric]:
        bin_labels = [*LABELS, "side", "feature", "bin"]
        rows = CounterMetricFamily(
            contract.METRIC_BINS, "Rows answered, by bin of the reference.", labels=bin_labels
        )
        fractions = GaugeMetricFamily(
            contract.METRIC_REFERENCE, "Share of the reference's rows in a bin.", labels=bin_labels
        )
        calibration = GaugeMetricFamily(
            contract.METRIC_CALIBRATION,
            "PSI that the reference shows by itself over a window, with headroom.",
            labels=[*LABELS, "side", "feature", "window"],
        )
        for side, features in self._sides:
            for feature in features:
                counts = self._counts[side, feature.name].tolist()
                key = [*self._labels, side, feature.name]
                for name, count, fraction in zip(
                    feature.bins, counts, feature.fractions, strict=True
                ):
                    rows.add_metric([*key, name], count)
                    fractions.add_metric([*key, name], fraction)
                for window, value in feature.calibration.items():
                    calibration.add_metric([*key, window], value)
        reference_rows = GaugeMetricFamily(
            contract.METRIC_REFERENCE_ROWS,
            "Rows of the reference behind the fractions.",
            labels=[*LABELS, "side"],
        )
        reference_rows.add_metric([*self._labels, contract.SIDE_INPUT], self._profile.rows)
        reference_rows.add_metric(
            [*self._labels, contract.SIDE_OUTPUT], self._profile.held_out_rows
        )
        yield from (rows, fractions, reference_rows, calibration)


class Metrics:
    """All series of one server; each label set is looked up once."""

    def __init__(
        self, deployment: str, model_version: str, digest: str, profile: Profile | None
    ) -> None:
        self.registry = CollectorRegistry()
        labels = (deployment, model_version)
        self.requests = Counter(
            contract.METRIC_REQUESTS, "V2 requests.", LABELS, registry=self.registry
        ).labels(*labels)
        self.errors = Counter(
            contract.METRIC_ERRORS, "V2 requests answered 5xx.", LABELS, registry=self.registry
        ).labels(*labels)
        self.duration = Histogram(
            contract.METRIC_DURATION,
            "Time from a V2 request's arrival to its answer.",
            LABELS,
            buckets=BUCKETS,
            registry=self.registry,
        ).labels(*labels)
        invalid = Counter(
            contract.METRIC_INVALID,
            "V2 requests answered 4xx.",
            [*LABELS, "reason"],
            registry=self.registry,
        )
        self._invalid = {
            reason: invalid.labels(*labels, reason)
            for reason in (*REASONS, MALFORMED, NOT_FOUND, OTHER)
        }
        Gauge(
            contract.METRIC_MODEL_INFO,
            "1, with the digest of the bytes served.",
            [*LABELS, "digest"],
            registry=self.registry,
        ).labels(*labels, digest).set(1)
        self.bins: Bins | None = None
        if profile is not None:
            self.bins = Bins(profile, *labels)
            self.registry.register(self.bins)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def invalid(self, reason: str) -> None:
        """Count a request answered 4xx."""
        self._invalid.get(reason, self._invalid[OTHER]).inc()

    def count(self, inputs: dict[str, Array], watched: Array) -> None:
        """Count answered rows into the bins, if the version has a profile."""
        if self.bins is not None:
            self.bins.count(inputs, watched)
