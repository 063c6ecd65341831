"""Bins and calibration, held against the model server's counting and against plain arithmetic."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop_server.profile import parse
from everloop_training.bins import LOWEST, categorical_bins, numeric_bins
from everloop_training.profile import build_profile, largest_psi, psi, window_numbers

NUMBERS = st.lists(
    st.one_of(st.floats(allow_nan=True, allow_infinity=False), st.just(0.0)), min_size=1
)
CATEGORIES = st.lists(
    st.one_of(st.none(), st.sampled_from(["a", "b", "", "other", "missing", "=x"]), st.text("xyz")),
    min_size=1,
)


def one_column(values: pd.Series, datatype: str) -> dict[str, Any]:
    """The profile of a model with this one input."""
    return build_profile(
        pd.DataFrame({"x": values}),
        {"x": datatype},
        output=pd.Series(np.linspace(0, 1, len(values)), name="predict_proba"),
        output_numeric=True,
        held_out=np.ones(len(values), dtype=bool),
        times=None,
    )


@settings(max_examples=40)
@given(NUMBERS, NUMBERS)
def test_numbers_are_counted_as_the_runner_bins_them(
    reference: list[float], live: list[float]
) -> None:
    column = pd.Series(reference, dtype=np.float64)
    feature = parse(json.dumps(one_column(column, "FP64"))).inputs[0]
    bins = numeric_bins("x", column)
    for values in (reference, live):
        codes = bins.codes(pd.Series(values, dtype=np.float64))
        counts = feature.counts(np.array(values, dtype=np.float64))
        assert counts.sum() == len(values)
        assert counts.tolist() == np.bincount(codes, minlength=len(bins.labels)).tolist()
    own = feature.counts(column.to_numpy())
    assert np.allclose(own / own.sum(), feature.fractions)
    assert own[0] == reference.count(LOWEST)  # nothing else of the reference is below it …
    assert own[len(feature.bins) - 2] == 0 or np.isnan(column).all()  # … nor above


@pytest.mark.parametrize(
    ("reference", "counts"),
    [
        ([-math.inf, 1.0, 2.0, math.inf], [1, 1, 1, 1, 0]),
        ([math.inf, math.inf], [2, 0]),  # no edge: one bin, and one for what is missing
        ([LOWEST, 1.0, 2.0], [1, 1, 1, 0, 0]),
    ],
)
def test_a_profile_is_json_also_where_numbers_end(
    reference: list[float], counts: list[int]
) -> None:
    column = pd.Series(reference)
    content = json.dumps(one_column(column, "FP64"), allow_nan=False)
    feature = parse(content).inputs[0]
    own = feature.counts(column.to_numpy())
    assert own.tolist() == counts
    assert np.allclose(own / own.sum(), feature.fractions)


@settings(max_examples=40)
@given(CATEGORIES, CATEGORIES)
def test_categories_are_counted_as_the_runner_bins_them(
    reference: list[str | None], live: list[str | None]
) -> None:
    column = pd.Series(reference, dtype=object)
    feature = parse(json.dumps(one_column(column, "BYTES"))).inputs[0]
    bins = categorical_bins("x", column)
    assert len(set(feature.bins)) == len(feature.bins)  # else two series would be one
    assert "" not in feature.bins  # an empty label is no label
    for values in (reference, live):
        as_served = np.array([np.nan if value is None else value for value in values], dtype=object)
        codes = bins.codes(pd.Series(values, dtype=object))
        counts = feature.counts(as_served)
        assert counts.sum() == len(values)
        assert counts.tolist() == np.bincount(codes, minlength=len(bins.labels)).tolist()


def test_truth_values_are_categories() -> None:
    feature = parse(json.dumps(one_column(pd.Series([True, False, True]), "BOOL"))).inputs[0]
    assert feature.bins == ("true", "false", "other", "missing")
    assert feature.counts(np.array([True, False, False])).tolist() == [1, 2, 0, 0]
    with_missing = np.array([True, np.nan], dtype=object)
    assert feature.counts(with_missing).tolist() == [1, 0, 0, 1]


def test_values_beyond_the_reference_have_bins_of_their_own() -> None:
    feature = parse(json.dumps(one_column(pd.Series(np.arange(100.0)), "FP64"))).inputs[0]
    assert len(feature.bins) == 13  # below, ten deciles, above, missing
    below, inside, above = feature.counts(np.array([-0.1, 0.0, 99.0, 99.1, np.nan]))[[0, 1, -2]]
    assert (below, inside, above) == (1, 1, 1)


def test_rare_categories_share_a_bin() -> None:
    names = [f"c{i:03}" for i in range(60) for _ in range(60 - i)]
    bins = categorical_bins("x", pd.Series(names, dtype=object))
    assert len(bins.labels) == 52
    assert bins.labels[0] == "c000"
    assert "c050" not in bins.labels


def plain_psi(current: list[int], reference: list[int]) -> float:
    """As in statistics/psi.py, written out."""
    bins, total = len(current), 0.0
    for now, then in zip(current, reference, strict=True):
        p = (now + 0.5) / (sum(current) + 0.5 * bins)
        q = (then + 0.5) / (sum(reference) + 0.5 * bins)
        total += (p - q) * math.log(p / q)
    return total


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=2, max_size=20))
def test_psi_is_as_the_rules_compute_it(bins: list[tuple[int, int]]) -> None:
    current, reference = [now for now, _ in bins], [then for _, then in bins]
    value = psi(np.array(current, dtype=float), np.array(reference, dtype=float))
    assert value == pytest.approx(plain_psi(current, reference))


def test_the_largest_psi_of_a_window_against_the_rest() -> None:
    """Six windows of 100 rows; the fourth differs."""
    codes = np.tile(np.arange(100) % 2, 6)
    codes[300:400] = 0
    windows = np.repeat(np.arange(6), 100)
    assert largest_psi(codes, 2, windows) == pytest.approx(plain_psi([100, 0], [250, 250]))


def test_a_window_with_few_rows_is_left_out() -> None:
    codes = np.concatenate([np.tile(np.arange(100) % 2, 6), np.ones(20, dtype=np.int64)])
    windows = np.concatenate([np.repeat(np.arange(6), 100), np.full(20, 6)])
    assert largest_psi(codes, 2, windows) == pytest.approx(0.0, abs=1e-9)


def test_too_few_windows_say_nothing() -> None:
    assert largest_psi(np.zeros(400, dtype=np.int64), 2, np.repeat(np.arange(4), 100)) is None


def test_windows_count_from_the_first_moment() -> None:
    start = pd.Timestamp("2013-01-01T10:00Z")
    times = pd.DatetimeIndex(
        [start, start + pd.Timedelta("59min"), start + pd.Timedelta("1h"), pd.NaT]
    )
    assert window_numbers(times, 3600).tolist() == [0, 0, 1, -1]


def drifting_profile(days: int, held_out_days: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(days), 24 * 10)
    times = pd.Timestamp("2013-01-01T00:00Z") + pd.to_timedelta(np.arange(days * 240) * 360, "s")
    drift = np.where(day == 3, 3.0, 0.0)  # the fourth day differs, long before the hold-out
    return build_profile(
        pd.DataFrame({"x": rng.normal(drift, 1)}),
        {"x": "FP64"},
        output=pd.Series(rng.normal(drift, 1), name="predict"),
        output_numeric=True,
        held_out=day >= days - held_out_days,
        times=pd.DatetimeIndex(times),
    )


def test_calibration_by_window() -> None:
    profile = drifting_profile(days=40, held_out_days=10)
    calibration = profile["calibration"]["input"]["x"]
    assert list(calibration) == ["1h", "6h", "1d", "7d"]
    assert calibration["1d"] > 2  # a day as different as that must not alarm
    assert calibration["7d"] < calibration["1d"]
    assert list(drifting_profile(days=20, held_out_days=10)["calibration"]["input"]["x"]) == [
        "1h",
        "6h",
        "1d",
    ]


def test_the_outputs_bound_knows_all_of_the_reference() -> None:
    """Its bins are of the held-out rows, but how far it moves is seen over the whole reference."""
    profile = drifting_profile(days=40, held_out_days=10)
    output = profile["outputs"][0]
    assert (profile["rows"], profile["heldOutRows"]) == (9600, 2400)
    assert output["fractions"][0] == 0
    assert profile["calibration"]["output"]["predict"]["1d"] > 2


def test_without_times_there_is_no_calibration() -> None:
    profile = one_column(pd.Series(np.arange(100.0)), "FP64")
    assert profile["calibration"] == {"input": {"x": {}}, "output": {"predict_proba": {}}}
