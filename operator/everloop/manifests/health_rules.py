"""Recording and alerting rules for failing requests and for servers that are gone.

Answers are counted at the router: a server that crashed cannot count its own errors. The group is
evaluated with every scrape, since both are seen at once or too late.
"""

from __future__ import annotations

import math

from everloop.api.durations import promql
from everloop.api.monitor import Monitor
from everloop.contract import METRIC_MODEL_INFO
from everloop.manifests.promql import one_of, render
from everloop.manifests.rules_clock import RulesClock
from everloop.manifests.rules_common import (
    Rule,
    alert,
    own_labels,
    record,
    selector,
)
from everloop.settings import Settings

BY_CLASS = "everloop:answers_by_class:window"  # by class of HTTP status
ANSWERS = "everloop:answers:window"
ERROR_RATE = "everloop:error_rate:window"
HEALTH_OVER = "everloop:health:over"  # 1 over the bound, 0 below it, absent without a verdict
TARGETS_DOWN = "everloop:targets:down"  # of the champion and the routers; absent: there are none
SEEN = "everloop:champion:seen"  # 1 once the champion's servers had been scraped

# Envoy makes the series of a class with its first answer, which increase() cannot see: on a router
# that was there when the window began, such a series counts from 0.
BY_CLASS_WINDOW = """
sum by (envoy_response_code_class) (
  (
    increase(envoy_cluster_upstream_rq_xx{<routed>}[<window>])
    and envoy_cluster_upstream_rq_xx{<routed>} offset <window>
  )
  or
  (
    envoy_cluster_upstream_rq_xx{<routed>}
    and on (namespace, pod) envoy_cluster_upstream_rq_xx{<routed>} offset <window>
  )
  or
  increase(envoy_cluster_upstream_rq_xx{<routed>}[<window>])
)
"""

ANSWERS_WINDOW = """
sum(everloop:answers_by_class:window{<own>})
"""

# Too few answers: no rate, and so no verdict.
ERROR_RATE_WINDOW = """
(
  sum(everloop:answers_by_class:window{<own>, envoy_response_code_class="5"})
  or vector(0)
)
/ scalar(everloop:answers:window{<own>})
and on () everloop:answers:window{<own>} >= <min_answers>
"""

ERRORS_OVER = """
everloop:error_rate:window{<own>} > bool <rate>
"""

ERRORS_ALERT = """
everloop:error_rate:window{<own>} > <rate>
"""

# Remembers itself, over a day in which Prometheus was down, too.
CHAMPION_SEEN = f"""
clamp_max(count({METRIC_MODEL_INFO}{{<served>}}), 1)
or on () max(last_over_time(everloop:champion:seen{{<own>}}[1d]))
"""

ABSENT_OVER = f"""
(1 - clamp_max(count({METRIC_MODEL_INFO}{{<served>}}) or vector(0), 1))
and on () everloop:champion:seen{{<own>}}
"""

ABSENT_ALERT = """
everloop:health:over{<own>, everloop_signal="Absent"} == 1
"""

DOWN = """
count(up{<targets>}) - sum(up{<targets>})
"""


def health_rules(monitor: Monitor, champion: str, settings: Settings) -> list[Rule]:
    """Targets always; errors and absence where they are watched."""
    spec = monitor.spec
    clock = RulesClock.of(spec, settings)
    place = {"namespace": monitor.metadata.namespace, "deployment": spec.deployment}
    own = own_labels(monitor, champion)
    series = selector(**own)
    # Routers serve all versions and so have none.
    targets = f"{selector(**place)}, model_version=~{one_of([champion, ''])}"
    rules = [record(TARGETS_DOWN, render(DOWN, targets=targets), own)]
    if spec.errors is not None:
        routed = selector(**place, envoy_cluster_name=champion)
        rate = float(spec.errors.rate)
        window = promql(clock.errors_window)
        rules += [
            record(BY_CLASS, render(BY_CLASS_WINDOW, routed=routed, window=window), own),
            record(ANSWERS, render(ANSWERS_WINDOW, own=series), own),
            record(
                ERROR_RATE,
                render(
                    ERROR_RATE_WINDOW,
                    own=series,
                    min_answers=min_answers(spec.min_samples, rate),
                ),
                own,
            ),
            record(
                HEALTH_OVER,
                render(ERRORS_OVER, own=series, rate=rate),
                {**own, "everloop_signal": "ErrorsHigh"},
            ),
            alert(
                monitor,
                champion,
                "ErrorsHigh",
                expression=render(ERRORS_ALERT, own=series, rate=rate),
                hold=clock.errors_for,
                settings=settings,
                annotations={
                    "summary": f"{spec.deployment} ({champion}) fails too often",
                    "description": (
                        "{{ $value | humanizePercentage }} of the answers in"
                        f" {spec.errors.window} were errors; {spec.errors.rate} may be."
                    ),
                },
            ),
        ]
    if spec.absence is not None:
        served = selector(**place, model_version=champion)
        rules += [
            record(SEEN, render(CHAMPION_SEEN, served=served, own=series), own),
            record(
                HEALTH_OVER,
                render(ABSENT_OVER, served=served, own=series),
                {**own, "everloop_signal": "Absent"},
            ),
            alert(
                monitor,
                champion,
                "Absent",
                expression=render(ABSENT_ALERT, own=series),
                hold=clock.absence_for,
                settings=settings,
                annotations={
                    "summary": f"No server of {spec.deployment} ({champion}) is there",
                    "description": "Prometheus gets no series from it.",
                },
            ),
        ]
    return rules


def min_answers(min_samples: int, rate: float) -> int:
    """Answers before a verdict on a rate: below 1/rate a single failure would exceed it.

    >>> min_answers(500, 0.05)
    20
    >>> min_answers(10, 0.01)
    10
    """
    return min(min_samples, math.ceil(1 / rate)) if rate > 0 else min_samples
