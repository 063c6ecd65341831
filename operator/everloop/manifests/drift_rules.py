"""Recording and alerting rules for drift of what a champion gets and gives, one group per Monitor.

PSI of a window against the reference in the champion's profile, held against a bound per column:
the largest of the user's floor, what sampling explains and what the reference itself shows
(statistics/psi.py has the formulas and their papers). Two successive windows must exceed it. Series
that these rules record carry the Monitor's labels and the version, so that nothing of a version
that is gone can keep an alert firing.
"""

from __future__ import annotations

from everloop import contract
from everloop.api.durations import promql
from everloop.api.monitor import Monitor
from everloop.manifests.promql import one_of, quote, render
from everloop.manifests.rules_clock import RulesClock, calibration_windows
from everloop.manifests.rules_common import (
    REQUESTS,
    Rule,
    alert,
    own_labels,
    record,
    selector,
)
from everloop.settings import Settings
from everloop.statistics import psi

DRIFT_RATIO = "everloop:drift:ratio"  # smaller of two windows' PSI over bound; above 1 is drift
DRIFT_OVER = "everloop:drift:over"  # 1 over the bound, 0 below it, absent without a verdict
PSI = "everloop:psi:window"
PSI_BOUND = "everloop:psi_bound:window"

# The range is a step and one scrape, so that successive increments share the scrape between them
# and lose nothing; increase() stretches what it saw to the whole range, the factor takes it back.
REQUESTS_INCREMENT = f"""
clamp_min(
  sum(increase({contract.METRIC_REQUESTS}{{<served>}}[<range>]))
  - (sum(increase({contract.METRIC_ERRORS}{{<served>}}[<range>])) or vector(0))
  - (sum(increase({contract.METRIC_INVALID}{{<served>}}[<range>])) or vector(0)),
  0
) * <step_seconds> / <range_seconds>
"""

REQUESTS_WINDOW = """
sum_over_time(everloop:requests:increment{<own>}[<steps>])
"""

BIN_INCREMENT = f"""
sum by (side, feature, bin) (
  increase({contract.METRIC_BINS}{{<served>, <columns>}}[<range>])
) * <step_seconds> / <range_seconds>
"""

# Half a step less than the window holds the same whole number of steps, whether or not the ends of
# a range belong to it (that changed in Prometheus 3).
BIN_WINDOW = """
sum_over_time(everloop:bin_rows:increment{<own>, <side>}[<steps>])
"""

BIN_SHARE = """
(everloop:bin_rows:window{<own>, <side>} + <smoothing>)
/ on (side, feature) group_left ()
(
  sum by (side, feature) (everloop:bin_rows:window{<own>, <side>})
  + <smoothing> * count by (side, feature) (everloop:bin_rows:window{<own>, <side>})
)
"""

REFERENCE_SHARE = f"""
(
  max by (side, feature, bin) ({contract.METRIC_REFERENCE}{{<served>, <columns>}})
  * on (side) group_left () max by (side) ({contract.METRIC_REFERENCE_ROWS}{{<served>, <side>}})
  + <smoothing>
)
/ on (side, feature) group_left ()
(
  <smoothing> * count by (side, feature) (
    max by (side, feature, bin) ({contract.METRIC_REFERENCE}{{<served>, <columns>}})
  )
  + on (side) group_left () max by (side) ({contract.METRIC_REFERENCE_ROWS}{{<served>, <side>}})
)
"""

PSI_WINDOW = """
sum by (side, feature) (
  (everloop:bin_share:window{<own>, <side>} - everloop:bin_share:reference{<own>, <side>})
  * ln(everloop:bin_share:window{<own>, <side>} / everloop:bin_share:reference{<own>, <side>})
)
"""

# The 1 - alpha/K quantile of the normal distribution, K columns (Abramowitz and Stegun 26.2.23).
QUANTILE_ROOT = """
sqrt(-2 * ln(<alpha> / count(everloop:psi:window{<own>, <side>})))
"""

QUANTILE = f"""
everloop:psi_quantile:root{{<own>, <side>}}
- (
  {psi.NUMERATOR[0]}
  + {psi.NUMERATOR[1]} * everloop:psi_quantile:root{{<own>, <side>}}
  + {psi.NUMERATOR[2]} * everloop:psi_quantile:root{{<own>, <side>}} ^ 2
) / (
  {psi.DENOMINATOR[0]}
  + {psi.DENOMINATOR[1]} * everloop:psi_quantile:root{{<own>, <side>}}
  + {psi.DENOMINATOR[2]} * everloop:psi_quantile:root{{<own>, <side>}} ^ 2
  + {psi.DENOMINATOR[3]} * everloop:psi_quantile:root{{<own>, <side>}} ^ 3
)
"""

DEGREES = """
count by (side, feature) (everloop:bin_share:reference{<own>, <side>}) - 1 > 0
"""

# Critical value of chi-square (Wilson and Hilferty) times 1/n + 1/m: n requests, m reference rows.
SAMPLING_BOUND = f"""
everloop:psi_degrees:reference{{<own>, <side>}}
* (
  1
  - 2 / (9 * everloop:psi_degrees:reference{{<own>, <side>}})
  + scalar(everloop:psi_quantile:normal{{<own>, <side>}})
  * sqrt(2 / (9 * everloop:psi_degrees:reference{{<own>, <side>}}))
) ^ 3
* (
  1 / scalar(everloop:requests:window{{<own>}})
  + 1 / scalar(max({contract.METRIC_REFERENCE_ROWS}{{<served>, <side>}}))
)
"""

CALIBRATION = (
    f"max by (side, feature) ({contract.METRIC_CALIBRATION}{{<served>, <columns>, window=<name>}})"
)

BOUND = """
clamp_min(
  max by (side, feature) (
    label_replace(everloop:psi_sampling_bound:window{<own>, <side>}, "of", "sampling", "", "")
    or
    label_replace(
      <calibration>,
      "of", "calibration", "", ""
    )
  ),
  <floor>
)
"""

# Too few requests: no ratio, and so no verdict.
RATIO = """
everloop:psi:window{<own>, <side>} / everloop:psi_bound:window{<own>, <side>}
and on () everloop:requests:window{<own>} >= <min_samples>
"""

# The smaller of now and one window ago; nothing where one of them has no verdict. An evaluation
# that Prometheus missed a window ago is bridged.
TWO_WINDOWS = """
(
  everloop:psi_ratio:window{<own>, <side>}
  <= last_over_time(everloop:psi_ratio:window{<own>, <side>}[<slack>] offset <window>)
)
or
(
  last_over_time(everloop:psi_ratio:window{<own>, <side>}[<slack>] offset <window>)
  < everloop:psi_ratio:window{<own>, <side>}
)
"""

OVER = """
max(everloop:drift:ratio{<own>, <side>}) > bool 1
"""

ALERT = """
max(everloop:drift:ratio{<own>, <side>}) > 1
"""

TOP = "sort_desc(topk(5, everloop:drift:ratio{<own>, <side>}))"


def drift_rules(monitor: Monitor, champion: str, settings: Settings) -> list[Rule]:
    """The rules of both sides, in the order they build on each other; [] if none is watched."""
    spec = monitor.spec
    clock = RulesClock.of(spec, settings)
    served = selector(
        namespace=monitor.metadata.namespace, deployment=spec.deployment, model_version=champion
    )
    own = own_labels(monitor, champion)
    reach: dict[str, str | float] = {
        "range": promql(clock.step + clock.scrape),
        "step_seconds": clock.step,
        "range_seconds": clock.step + clock.scrape,
    }
    requests = [
        ("everloop:requests:increment", render(REQUESTS_INCREMENT, served=served, **reach)),
        (REQUESTS, render(REQUESTS_WINDOW, own=selector(**own), steps=_steps(clock))),
    ]
    rules = [record(name, text, own) for name, text in requests]
    sides = []
    if spec.inputs is not None:
        sides.append(
            (contract.SIDE_INPUT, "InputDrift", spec.inputs.features, spec.inputs.threshold)
        )
    if spec.outputs is not None:
        sides.append((contract.SIDE_OUTPUT, "OutputDrift", ["*"], spec.outputs.threshold))
    for side, signal, features, floor in sides:
        columns = f"side={quote(side)}"
        if "*" not in features:
            columns += f", feature=~{one_of(features)}"
        given: dict[str, str | float] = {
            **reach,
            "served": served,
            "own": selector(**own),
            "side": f"side={quote(side)}",
            "columns": columns,
            "steps": _steps(clock),
            "window": promql(clock.window),
            "slack": promql(2 * clock.step),
            "smoothing": psi.SMOOTHING,
            "alpha": psi.ALPHA,
            "min_samples": float(spec.min_samples),
            "floor": float(floor),
            "calibration": _calibration(spec.window, served, columns),
        }
        rules += _side(given, own)
        rules += _verdict(monitor, champion, signal, given=given, settings=settings)
    return rules if sides else []


def _steps(clock: RulesClock) -> str:
    return promql(clock.window - clock.step / 2)


def _side(given: dict[str, str | float], own: dict[str, str]) -> list[Rule]:
    texts = [
        ("everloop:bin_rows:increment", BIN_INCREMENT),
        ("everloop:bin_rows:window", BIN_WINDOW),
        ("everloop:bin_share:window", BIN_SHARE),
        ("everloop:bin_share:reference", REFERENCE_SHARE),
        (PSI, PSI_WINDOW),
        ("everloop:psi_quantile:root", QUANTILE_ROOT),
        ("everloop:psi_quantile:normal", QUANTILE),
        ("everloop:psi_degrees:reference", DEGREES),
        ("everloop:psi_sampling_bound:window", SAMPLING_BOUND),
        (PSI_BOUND, BOUND),
        ("everloop:psi_ratio:window", RATIO),
        (DRIFT_RATIO, TWO_WINDOWS),
    ]
    side = {"side": str(given["side"]).removeprefix('side="').removesuffix('"')}
    return [record(name, _fill(text, given), {**own, **side}) for name, text in texts]


def _verdict(
    monitor: Monitor,
    champion: str,
    signal: str,
    *,
    given: dict[str, str | float],
    settings: Settings,
) -> list[Rule]:
    what = "Inputs" if signal == "InputDrift" else "Outputs"
    spec = monitor.spec
    top = _fill(TOP, given)
    return [
        record(
            DRIFT_OVER,
            _fill(OVER, given),
            {**own_labels(monitor, champion), "everloop_signal": signal},
        ),
        alert(
            monitor,
            champion,
            signal,
            expression=_fill(ALERT, given),
            hold=RulesClock.of(spec, settings).drift_for,
            settings=settings,
            annotations={
                "summary": f"{what} of {spec.deployment} ({champion}) have drifted",
                "description": (
                    f"PSI was {{{{ $value | humanize }}}} times its bound in two successive"
                    f" windows of {spec.window}."
                ),
                "top": (
                    f"{{{{ range $i, $s := query `{top}` }}}}{{{{ if $i }}}}, {{{{ end }}}}"
                    "{{ $s.Labels.feature }} {{ $s.Value | humanize }}{{ end }}"
                ),
            },
        ),
    ]


def _calibration(window: str, served: str, columns: str) -> str:
    parts = [
        render(CALIBRATION, served=served, columns=columns, name=quote(name))
        for name in calibration_windows(window)
    ]
    return "\n      or\n      ".join(parts)


def _fill(text: str, given: dict[str, str | float]) -> str:
    return render(text, **{name: given[name] for name in given if f"<{name}>" in text})
