"""The query behind an analysis step: what each version answered since the step began.

`increase()` would not do. It extrapolates, so that counts are not counts; and it takes a series'
first sample for its zero, so that the first failures of a version, whose 5xx series is born with
them, are lost: with few requests those are all there is.

So per series (one router pod, one version, one class of status codes): its last value, less its
value at the baseline (0 if it was born later), plus what it had counted before each restart.

- The baseline is one scrape after the step began: what was answered under the old weights and
  scraped late is not this step's.
- A restart is a value below the one of a scrape before; that one's value is added. Seen through a
  subquery with one point a scrape.
- Pods that have gone count with their last value.
"""

from __future__ import annotations

import math

from everloop.api.durations import promql
from everloop.manifests.promql import quote, render

MAX_POINTS = 1000  # of the subquery, however long the step is
LOOKBACK = "1h"  # for the value at the baseline, should scrapes have failed just then

ANSWERS = """\
sum by (envoy_cluster_name, envoy_response_code_class) (
  clamp_min(
    last_over_time(<series>[<window>])
    - (
        last_over_time(<series>[<lookback>] @ <baseline>)
      or
        last_over_time(<series>[<window>]) * 0
    )
    + (
        sum_over_time(((<series> offset <scrape>) > <series>)[<rest>:<scrape>])
      or
        last_over_time(<series>[<window>]) * 0
    ),
    0
  )
)
"""
SERIES = "envoy_cluster_upstream_rq_xx{namespace=<namespace>, deployment=<deployment>}"


def answers(
    namespace: str, deployment: str, since: float, now: float, scrape_seconds: float
) -> str | None:
    """The query for a step that began at `since` (seconds since the epoch, as `now`).

    None while the scrape after its beginning is not past.
    """
    scrape = max(scrape_seconds, 1.0)
    baseline = since + scrape
    window = now - baseline
    if window < scrape:
        return None
    grid = max(scrape, math.ceil(window / MAX_POINTS))
    series = render(SERIES, namespace=quote(namespace), deployment=quote(deployment))
    return render(
        ANSWERS,
        series=series,
        window=promql(window),
        rest=promql(max(window - grid, grid)),
        scrape=promql(grid),
        lookback=LOOKBACK,
        baseline=baseline,
    )
