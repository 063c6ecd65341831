"""Names go into PromQL whole, and texts are rendered strictly."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everloop.manifests.promql import number, one_of, quote, render

_UNESCAPE = {"\\\\": "\\", '\\"': '"', "\\n": "\n", "\\r": "\r", "\\t": "\t"}
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def _unquote(literal: str) -> str:
    """What PromQL reads: a string in double quotes with Go's escapes."""
    assert literal[0] == literal[-1] == '"'
    inside = literal[1:-1]
    assert re.fullmatch(r'(?:[^"\\\n]|\\[\\"nrt])*', inside), inside
    return re.sub(r'\\[\\"nrt]', lambda match: _UNESCAPE[match[0]], inside)


@given(names)
def test_a_quoted_name_is_one_string_of_that_name(name: str) -> None:
    assert _unquote(quote(name)) == name


@given(st.lists(names, min_size=1, max_size=5), names)
def test_one_of_matches_exactly_its_names(wanted: list[str], other: str) -> None:
    pattern = _unquote(one_of(wanted))
    # without a name with | or a line end, Python's regular expressions agree with RE2 here
    for name in wanted:
        assert re.fullmatch(pattern, name, re.DOTALL)
    assert bool(re.fullmatch(pattern, other, re.DOTALL)) == (other in wanted)


@given(names)
def test_a_value_that_looks_like_a_placeholder_is_not_filled_again(name: str) -> None:
    filled = render("x{a=<a>, b=<b>}", a=quote("<b>" + name), b=quote("<a>"))
    assert filled == f'x{{a={quote("<b>" + name)}, b="<a>"}}'


@pytest.mark.parametrize(
    ("text", "values"),
    [("x[<window>]", {}), ("x", {"window": "5m"}), ("x[<window>]", {"windows": "5m"})],
    ids=["missing", "unused", "misspelt"],
)
def test_every_placeholder_is_filled_and_every_value_used(
    text: str, values: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="window"):
        render(text, **values)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_written_without_loss(value: float) -> None:
    assert float(number(value)) == value
