"""Moments as RFC 3339 in UTC; a time without a zone is taken as UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd


def parse_time(text: str) -> datetime:
    """Raises ValueError for what is not RFC 3339."""
    return in_utc(datetime.fromisoformat(text))


def in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """`2013-07-15T00:00:00Z`, with microseconds only where there are some."""
    return in_utc(moment).isoformat().replace("+00:00", "Z")


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
