"""Moments as RFC 3339 in UTC; a time without a zone is taken as UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_time(text: str) -> datetime:
    """Raises ValueError for what is not RFC 3339."""
    return in_utc(datetime.fromisoformat(text))


def in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """`2013-07-15T00:00:00Z`, with microseconds only where there are some."""
    return in_utc(moment).isoformat().replace("+00:00", "Z")
