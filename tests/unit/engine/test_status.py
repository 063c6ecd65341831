"""The status write: the smallest merge patch that turns what was read into what is planned."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from everloop.cluster.status import merge_patch, without_nulls

values = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
statuses = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


def patched(target: Any, patch: Any) -> Any:
    """RFC 7396, as the API server does it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result


@given(before=statuses, after=statuses)
def test_patch_brings_what_is_planned(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert patched(before, merge_patch(before, after)) == after


@given(status=statuses)
def test_nothing_to_say_is_no_patch(status: dict[str, Any]) -> None:
    assert merge_patch(status, status) == {}


def test_none_is_absence() -> None:
    status = {"a": None, "b": {"c": None, "d": 1}, "e": [{"f": None}]}
    assert without_nulls(status) == {"b": {"d": 1}, "e": [{}]}
