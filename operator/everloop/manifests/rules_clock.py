"""The durations in a Monitor's rules: users' durations divided by the chart's clock.speedup.

Only this file knows the speedup, so rules of an accelerated clock differ in durations and nothing
else.
"""

from __future__ import annotations

from dataclasses import dataclass

from everloop import contract
from everloop.api.durations import seconds
from everloop.api.monitor import MonitorSpec
from everloop.settings import Settings

STEP_SECONDS = 300.0  # increments are recorded this often
SCRAPES_PER_STEP = 5  # fewer would make increments guesses


def step_seconds(settings: Settings) -> float:
    """How often increments are recorded, in real time; never under five scrapes."""
    shortest = SCRAPES_PER_STEP * settings.scrape_interval_seconds
    return max(STEP_SECONDS / settings.clock_speedup, shortest)


@dataclass(frozen=True)
class RulesClock:
    """Seconds of real time."""

    scrape: float
    step: float
    window: float  # a whole number of steps
    errors_window: float
    drift_for: float
    errors_for: float
    absence_for: float

    @classmethod
    def of(cls, spec: MonitorSpec, settings: Settings) -> RulesClock:
        """Divided by the speedup; a step, or a window of errors, is never under five scrapes."""
        speedup, scrape = settings.clock_speedup, settings.scrape_interval_seconds
        shortest = SCRAPES_PER_STEP * scrape
        step = step_seconds(settings)
        steps = max(1, round(seconds(spec.window) / speedup / step))
        return cls(
            scrape=scrape,
            step=step,
            window=steps * step,
            errors_window=max(seconds(spec.errors.window) / speedup, shortest)
            if spec.errors
            else shortest,
            drift_for=seconds(spec.retrain.for_) / speedup if spec.retrain else 0.0,
            errors_for=seconds(spec.errors.for_) / speedup if spec.errors else 0.0,
            absence_for=seconds(spec.absence.for_) / speedup if spec.absence else 0.0,
        )


def calibration_windows(window: str) -> list[str]:
    """Names of the calibrations that may stand for a window, best first: the next shorter first.

    Profiles stay in data time, so this is the window as the user wrote it. A window shorter than
    all of them takes the shortest: too small for it, and still better than none.

    >>> calibration_windows("2d")
    ['1d', '6h', '1h']
    >>> calibration_windows("10m")
    ['1h']
    """
    known = sorted(contract.CALIBRATION_WINDOWS, key=contract.CALIBRATION_WINDOWS.__getitem__)
    fitting = [
        name for name in known if contract.CALIBRATION_WINDOWS[name] <= seconds(window)
    ] or known[:1]
    return fitting[::-1]
