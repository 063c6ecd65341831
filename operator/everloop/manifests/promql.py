"""Strict rendering of PromQL: a text with `<placeholders>`, each filled, each value quoted right.

Used by the rules of a Monitor and by whoever asks Prometheus about a model, so that a strange name
of a column can neither break a query nor widen it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLACEHOLDER = re.compile(r"<([a-z_]+)>")
_REGEX_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")  # what RE2 gives a meaning
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote(value: str) -> str:
    """A PromQL string literal of exactly this value.

    >>> quote('a"b')
    '"a\\\\"b"'
    """
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in value) + '"'


def one_of(values: Iterable[str]) -> str:
    """A string literal for `=~` that matches exactly these values (PromQL anchors both ends).

    >>> one_of(["dep.hour", "temp"])
    '"dep\\\\\\\\.hour|temp"'
    """
    return quote("|".join(_REGEX_SPECIAL.sub(r"\\\g<0>", value) for value in values))


def number(value: float) -> str:
    """A number as short as it can be written without loss.

    >>> number(0.1), number(500.0)
    ('0.1', '500')
    """
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def render(text: str, **values: str | float) -> str:
    """Fill the placeholders of a named text; strings go in as they are, numbers by `number`.

    Raises ValueError for a placeholder without value and for a value without placeholder: both are
    mistakes that PromQL would take for something else.

    >>> render("rate(x[<window>]) > <bound>", window="300s", bound=0.5)
    'rate(x[300s]) > 0.5'
    """
    wanted = set(_PLACEHOLDER.findall(text))
    if wanted != set(values):
        raise ValueError(
            f"PromQL placeholders {sorted(wanted ^ set(values))} are in the text or the values only"
        )
    filled = {
        name: value if isinstance(value, str) else number(value) for name, value in values.items()
    }
    return _PLACEHOLDER.sub(lambda match: filled[match[1]], text).strip()
