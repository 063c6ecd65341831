"""The chart's `clock.speedup`: how long a rollout's durations really take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from everloop.api import durations
from everloop.settings import Settings

SCRAPES = 5  # fewer points than these say nothing, however fast the clock


@dataclass(frozen=True)
class Clock:
    """Durations of a spec as real time. The speedup divides steps and windows, nothing else."""

    speedup: float = 1.0
    scrape_seconds: float = 15.0

    @classmethod
    def of(cls, settings: Settings) -> Clock:
        """From the chart's values."""
        return cls(settings.clock_speedup, settings.scrape_interval_seconds)

    @property
    def note(self) -> str:
        """What messages add, so that nobody takes accelerated time for real.

        >>> Clock(60).note, Clock().note
        (' (clock x60)', '')
        """
        return "" if self.speedup == 1 else f" (clock x{self.speedup:g})"

    def scaled(self, duration: str) -> timedelta:
        """A step's length; an accelerated one is at least 5 scrapes.

        >>> Clock(60, scrape_seconds=1).scaled("10m"), Clock(60, scrape_seconds=1).scaled("1m")
        (datetime.timedelta(seconds=10), datetime.timedelta(seconds=5))
        """
        real = durations.seconds(duration)
        if self.speedup == 1:
            return timedelta(seconds=real)
        return timedelta(seconds=max(real / self.speedup, SCRAPES * self.scrape_seconds))

    def interval(self, duration: str) -> timedelta:
        """How often to look: never more often than there is something new to see."""
        real = durations.seconds(duration) / self.speedup
        return timedelta(seconds=max(real, self.scrape_seconds, 1.0))

    @staticmethod
    def real(duration: str) -> timedelta:
        """What the speedup leaves alone."""
        return timedelta(seconds=durations.seconds(duration))
