"""Asks Prometheus about all Monitors at once and wakes those for which something changed.

Three requests however many Monitors there are. What is seen here decides nothing: a Monitor that is
woken asks for itself.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

from everloop.handlers.kind import EngineApi, Key
from everloop.manifests.rules_common import (
    LABEL_MONITOR,
    LABEL_NAMESPACE,
    LABEL_SIGNAL,
    LABEL_VERSION,
)
from everloop.prometheus.client import PrometheusReader, PrometheusUnavailable
from everloop.prometheus.recorded import verdicts
from everloop.settings import Settings

log = logging.getLogger(__name__)

OURS = f'{LABEL_MONITOR}!=""'
LONGEST_PAUSE_SECONDS = 30.0

Facts = dict[Key, frozenset[tuple[str, ...]]]


class Poller:
    """Remembers what it saw last. After a failure it forgets, and so wakes everyone once."""

    def __init__(self, api: EngineApi, prometheus: PrometheusReader, settings: Settings) -> None:
        self._api = api
        self._prometheus = prometheus
        self._settings = settings
        self._seen: Facts = {}
        self._failures = 0

    async def poll(self) -> None:
        """Look once, and wake Monitors whose facts differ from the last look."""
        try:
            facts = await self._look()
        except PrometheusUnavailable as error:
            if self._failures == 0:
                log.warning("alerts: %s", error)
                self._wake(self._seen)
            self._failures += 1
            self._seen = {}
            return
        if self._failures:
            log.info("alerts: Prometheus answers again")
        self._failures = 0
        before, self._seen = self._seen, facts
        self._wake(key for key in facts | before if facts.get(key) != before.get(key))

    def pause(self) -> float:
        """Seconds until the next look: the interval, doubled with each failure."""
        interval = self._settings.poll_interval_seconds
        longest = max(interval, LONGEST_PAUSE_SECONDS)
        return min(interval * 2.0 ** min(self._failures, 10), longest)

    def _wake(self, keys: Iterable[Key]) -> None:
        """Wake those that exist: anybody may write a rule with our labels."""
        for key in keys:
            if self._api.view.get(key.kind, key.namespace, key.name) is not None:
                self._api.wake(key)

    async def _look(self) -> Facts:
        facts: defaultdict[Key, set[tuple[str, ...]]] = defaultdict(set)
        for group in await self._prometheus.rules(f"{{{OURS}}}"):
            key = _key(group.labels)
            if key is None:
                continue
            broken = any(rule.health == "err" for rule in group.rules)
            facts[key].add((group.name, str(group.evaluated), str(broken)))
            for alert in group.alerts:
                labels = alert.labels.get(LABEL_SIGNAL, ""), alert.labels.get(LABEL_VERSION, "")
                facts[key].add((*labels, alert.state, alert.active_at.isoformat()))
        for sample in await verdicts(self._prometheus, OURS, self._settings):
            key = _key(sample.labels)
            if key is not None:
                name, version = sample.labels["__name__"], sample.labels.get(LABEL_VERSION, "")
                signal = sample.labels.get(LABEL_SIGNAL, "")
                facts[key].add((name, signal, version, str(sample.value > 0)))
        return {key: frozenset(values) for key, values in facts.items()}


def _key(labels: Mapping[str, str]) -> Key | None:
    """The Monitor that a rule or series says it belongs to."""
    namespace, name = labels.get(LABEL_NAMESPACE), labels.get(LABEL_MONITOR)
    return Key("Monitor", namespace, name) if namespace and name else None
