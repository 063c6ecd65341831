"""Durations as users write them (`90s`, `1h30m`, `7d`) to seconds and back."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"([0-9]+)(ms|s|m|h|d|w)")


def seconds(text: str) -> float:
    """Seconds of a duration. Raises ValueError for anything the CRD would not accept.

    >>> seconds("1h30m")
    5400.0
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: write for example 90s, 10m, 1h30m or 7d")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def promql(value: float) -> str:
    """A duration in seconds as PromQL writes it, rounded to milliseconds.

    >>> promql(86400 / 7)
    '12342857ms'
    >>> promql(300)
    '300s'
    """
    milliseconds = round(value * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
