"""The paired block bootstrap, held against scikit-learn and against resampling row by row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from everloop_training.compare import (
    METRICS,
    NotComparableError,
    Predictions,
    blocks,
    compare,
    metric_value,
)


def made(score: np.ndarray, label: np.ndarray) -> Predictions:
    return Predictions(score.astype(float), label.astype(float))


def sample(rows: int = 600, skill: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities rounded so that there are ties, and labels."""
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.3).astype(int)
    noise = np.random.default_rng(seed + 1).normal(0, 1, rows)
    return np.round(1 / (1 + np.exp(-(skill * (label - 0.3) + noise))), 2), label


BY_SKLEARN: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auc": reference.roc_auc_score,
    "accuracy": lambda label, score: reference.accuracy_score(label, score >= 0.5),
    "log_loss": reference.log_loss,
    "brier": reference.brier_score_loss,
    "rmse": reference.root_mean_squared_error,
    "mae": reference.mean_absolute_error,
}


@pytest.mark.parametrize("name", METRICS)
def test_values_are_those_of_scikit_learn(name: str) -> None:
    score, label = sample()
    expected = BY_SKLEARN[name](label, score)
    assert metric_value(f"val_{name}", made(score, label)) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=25)
@given(weights=hnp.arrays(np.int64, 6, elements=st.integers(0, 3)))
def test_a_resample_is_what_repeated_rows_give(name: str, weights: np.ndarray) -> None:
    score, label = sample(rows=120)
    block = blocks(120, None) % 6
    repeats = weights[block]
    rows, truth = np.repeat(score, repeats), np.repeat(label, repeats)
    value = METRICS[name](made(score, label), block)(weights[None, :].astype(float))[0]
    if (name == "auc" and len(set(truth.tolist())) < 2) or len(truth) == 0:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(metric_value(name, made(rows, truth)))


def test_the_better_model_is_positive_in_both_directions() -> None:
    good, label = sample(rows=4000, skill=2.0)
    bad, _ = sample(rows=4000, skill=0.2)
    block = blocks(4000, None)
    auc = compare("val_auc", True, made(good, label), made(bad, label), block)
    assert 0 < auc.low < auc.value < auc.high
    loss = compare("val_brier", False, made(good, label), made(bad, label), block)
    assert 0 < loss.low < loss.value < loss.high
    swapped = compare("val_auc", True, made(bad, label), made(good, label), block)
    assert (swapped.low, swapped.high) == pytest.approx((-auc.high, -auc.low))


def test_equal_models_differ_by_nothing() -> None:
    score, label = sample()
    same = compare("auc", True, made(score, label), made(score, label), blocks(600, None))
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_the_interval_covers_the_truth() -> None:
    """The mean difference of two models over many hold-outs lies in most of their intervals."""
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        day = np.repeat(np.arange(30), 20)
        shift = rng.normal(0, 0.5, 30)[day]  # days differ, for both models
        label = rng.normal(shift, 1)
        one = made(label + rng.normal(0.0, 1.0, 600), label)
        other = made(label + rng.normal(0.0, 1.2, 600), label)
        found = compare("rmse", False, one, other, day)
        covered += found.low <= 0.2 <= found.high
    assert covered >= 51


def test_blocks_are_days() -> None:
    times = pd.DatetimeIndex(pd.to_datetime(["2013-01-01T23:59Z", "2013-01-02T00:00Z"] * 5))
    days = pd.DatetimeIndex([time + pd.Timedelta(days=2 * i) for i, time in enumerate(times)])
    assert blocks(10, days).tolist() == list(range(10))


def test_long_hold_outs_have_blocks_of_several_days() -> None:
    times = pd.DatetimeIndex(pd.date_range("2010-01-01", periods=1000, freq="D", tz="UTC"))
    block = blocks(1000, times)
    assert len(set(block.tolist())) == 200
    assert (np.diff(block) >= 0).all()


def test_few_days_are_cut_into_parts() -> None:
    times = pd.DatetimeIndex(pd.date_range("2013-01-01", periods=100, freq="h", tz="UTC"))
    assert len(set(blocks(100, times).tolist())) == 20


@pytest.mark.parametrize(
    ("metric", "rows", "said"),
    [
        ("val_f1", 600, "val_f1"),
        ("val_auc", 3, "too few"),
    ],
)
def test_no_interval_says_why(metric: str, rows: int, said: str) -> None:
    score, label = sample()
    one = made(score[:rows], label[:rows])
    with pytest.raises(NotComparableError, match=said):
        compare(metric, True, one, one, blocks(rows, None))


def test_a_class_that_is_too_rare() -> None:
    score, label = sample()
    label[:] = 0
    label[0] = 1
    with pytest.raises(NotComparableError, match="rare"):
        compare("auc", True, made(score, label), made(score, label), blocks(600, None))


def test_labels_that_are_no_classes() -> None:
    score, label = sample()
    with pytest.raises(NotComparableError, match="0 or 1"):
        metric_value("auc", made(score, label * 2))
