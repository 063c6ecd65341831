"""Columns of times. Apart from times.py, since pandas costs a second that fetch need not spend."""

from __future__ import annotations

from typing import Any

import pandas as pd

from everloop_training.times import rfc3339


def utc_index(values: Any) -> pd.DatetimeIndex:
    """A column of times in UTC. Raises ValueError or TypeError for what is no time."""
    return pd.DatetimeIndex(pd.to_datetime(values, utc=True)).as_unit("us")


def span(times: pd.DatetimeIndex) -> dict[str, str] | None:
    """First and last moment; None if there is none."""
    known = times.dropna()
    if len(known) == 0:
        return None
    return {
        "start": rfc3339(known.min().to_pydatetime()),
        "end": rfc3339(known.max().to_pydatetime()),
    }
