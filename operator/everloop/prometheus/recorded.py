"""What the rules of Monitors record, as queries.

Verdicts on drift are as old as a step, which may be as long as Prometheus looks back for an instant
vector: they are asked for over two steps. The others are evaluated with every scrape.
"""

from __future__ import annotations

from typing import Final

from everloop.manifests.drift_rules import DRIFT_OVER, DRIFT_RATIO
from everloop.manifests.health_rules import ANSWERS, ERROR_RATE, HEALTH_OVER, TARGETS_DOWN
from everloop.manifests.promql import one_of, render
from everloop.manifests.rules_clock import step_seconds
from everloop.manifests.rules_common import REQUESTS
from everloop.prometheus.client import PrometheusReader, Sample
from everloop.settings import Settings

DRIFT_SERIES: Final = """
last_over_time({__name__=~<names>, <which>}[<two_steps>])
"""

HEALTH_SERIES: Final = """
{__name__=~<names>, <which>}
"""


async def verdicts(prometheus: PrometheusReader, which: str, settings: Settings) -> list[Sample]:
    """Which signals have a verdict, and targets that are down. `which`: matchers without braces."""
    return await _both(prometheus, which, settings, [DRIFT_OVER], [HEALTH_OVER, TARGETS_DOWN])


async def measurements(
    prometheus: PrometheusReader, which: str, settings: Settings
) -> list[Sample]:
    """Verdicts, and the values behind them."""
    drift = [DRIFT_OVER, DRIFT_RATIO, REQUESTS]
    health = [HEALTH_OVER, TARGETS_DOWN, ANSWERS, ERROR_RATE]
    return await _both(prometheus, which, settings, drift, health)


async def _both(
    prometheus: PrometheusReader,
    which: str,
    settings: Settings,
    drift: list[str],
    health: list[str],
) -> list[Sample]:
    two_steps = f"{round(2000 * step_seconds(settings))}ms"
    old = render(DRIFT_SERIES, names=one_of(drift), which=which, two_steps=two_steps)
    new = render(HEALTH_SERIES, names=one_of(health), which=which)
    return [*await prometheus.query(old), *await prometheus.query(new)]
