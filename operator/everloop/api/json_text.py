"""JSON that somebody else may have written or edited: annotations, and last words of containers."""

from __future__ import annotations

import json
from typing import Any

DEEPEST = 32  # of ours none is deeper; far deeper ones cannot even be copied
LARGEST = 2**63  # the API server refuses whole numbers that are much larger


def read_object(text: str) -> dict[str, Any] | None:
    """The JSON object in a text; None if it is none, or none that the API server would take.

    >>> read_object('{"signal": "InputDrift"}')
    {'signal': 'InputDrift'}
    >>> read_object("by hand"), read_object("[1]"), read_object('{"value": NaN}')
    (None, None, None)
    """
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or not _fits(value, DEEPEST):
            return None
        sound = json.dumps(value, allow_nan=False, ensure_ascii=False).encode(errors="replace")
        read: dict[str, Any] = json.loads(sound)  # without halves of letters, which UTF-8 has not
    except (ValueError, RecursionError):
        return None
    return read


def _fits(value: Any, levels: int) -> bool:
    if isinstance(value, int):
        return -LARGEST <= value < LARGEST
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_fits(item, levels - 1) for item in inner)
