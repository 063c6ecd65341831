"""Candidate against champion on the same rows: a paired bootstrap by block.

Rows of one day resemble each other, so resampling single rows would make the interval too narrow.
Whole blocks are drawn with replacement, the same for both models: Künsch, The jackknife and the
bootstrap for general stationary observations, Ann. Statist. 17 (1989); Efron and Tibshirani, An
Introduction to the Bootstrap (1993), ch. 13 for the percentile interval.

No resample is scored row by row. A metric is a function of sums over blocks, the AUC one of counts
of ordered pairs between blocks, so a resample is a vector of block weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RESAMPLES: Final = 2000
SEED: Final = 20130101  # fixed: the same predictions give the same verdict
LEVEL: Final = 0.95
MIN_DAYS: Final = 8  # with fewer days, blocks are equal parts of the rows in order
PARTS: Final = 20
MAX_BLOCKS: Final = 200  # longer hold-outs: several days make a block
CLIP: Final = 1e-15  # of probabilities in the log loss

Vector = NDArray[np.float64]
# Value of a metric for each row of block weights (resamples x blocks); NaN where undefined.
Weighted = Callable[[Vector], Vector]


@dataclass(frozen=True)
class Predictions:
    """What one model said of the rows of the hold-out."""

    score: Vector
    label: Vector


@dataclass(frozen=True)
class Difference:
    """Candidate minus champion, turned so that positive is better, with its interval."""

    value: float
    low: float
    high: float


class NotComparableError(Exception):
    """There can be no interval; the message says why."""


def blocks(rows: int, times: pd.DatetimeIndex | None) -> NDArray[np.int64]:
    """The block of each row, from 0: its day, or one of equal parts in the given order."""
    if times is not None:
        days = np.unique(times.floor("D").asi8, return_inverse=True)[1]
        count = int(days.max()) + 1
        if count >= MIN_DAYS:
            result: NDArray[np.int64] = days * min(count, MAX_BLOCKS) // count
            return result
    return np.arange(rows, dtype=np.int64) * min(PARTS, rows) // rows


def compare(
    metric: str,
    maximize: bool,
    candidate: Predictions,
    champion: Predictions,
    block: NDArray[np.int64],
) -> Difference:
    """The difference in `metric` with its 95 % interval. Raises NotComparableError."""
    make = _metric(metric)
    count = int(block.max()) + 1
    if count < 5:
        raise NotComparableError(f"{len(block)} held-out rows are too few for an interval")
    of_candidate, of_champion = make(candidate, block), make(champion, block)
    sign = 1.0 if maximize else -1.0
    once = np.ones((1, count))
    value = sign * float((of_candidate(once) - of_champion(once))[0])
    rng = np.random.default_rng(SEED)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
    differences = sign * (of_candidate(weights) - of_champion(weights))
    known = differences[~np.isnan(differences)]
    if np.isnan(value) or len(known) < LEVEL * RESAMPLES:
        raise NotComparableError(
            f"{metric} is undefined in most resamples: one of the classes is too rare"
        )
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(value, float(low), float(high))


def metric_value(metric: str, predictions: Predictions) -> float:
    """The metric of all rows. Raises NotComparableError for a metric that is not known here."""
    block = np.zeros(len(predictions.score), dtype=np.int64)
    return float(_metric(metric)(predictions, block)(np.ones((1, 1)))[0])


def _metric(name: str) -> Callable[[Predictions, NDArray[np.int64]], Weighted]:
    """By the end of its name: val_auc, test.log_loss …"""
    for suffix, make in METRICS.items():
        if name == suffix or name.endswith((f"_{suffix}", f".{suffix}", f"-{suffix}")):
            return make
    raise NotComparableError(
        f"the runner does not know how to compute {name}; an interval needs a name that ends in "
        f"one of {', '.join(METRICS)}"
    )


def _auc(predictions: Predictions, block: NDArray[np.int64]) -> Weighted:
    """ROC AUC as the share of (positive, negative) pairs in the right order, ties half."""
    positive = _binary(predictions.label)
    count = int(block.max()) + 1
    score_up, block_up = predictions.score[positive], block[positive]
    pairs = np.zeros((count, count))  # of a positive in a block, a negative in another
    negatives = np.zeros(count)
    for other in range(count):
        below = np.sort(predictions.score[~positive & (block == other)])
        negatives[other] = len(below)
        right = np.searchsorted(below, score_up, "left") + np.searchsorted(below, score_up, "right")
        pairs[:, other] = np.bincount(block_up, weights=right / 2, minlength=count)
    positives = np.bincount(block_up, minlength=count).astype(np.float64)

    def weighted(weights: Vector) -> Vector:
        ordered = np.einsum("ra,ab,rb->r", weights, pairs, weights, optimize=True)
        return _divide(ordered, (weights @ positives) * (weights @ negatives))

    return weighted


def _mean(
    loss: Callable[[Predictions], Vector], finish: Callable[[Vector], Vector] = lambda mean: mean
) -> Callable[[Predictions, NDArray[np.int64]], Weighted]:
    """A metric that is a function of the mean of a value per row."""

    def make(predictions: Predictions, block: NDArray[np.int64]) -> Weighted:
        count = int(block.max()) + 1
        sums = np.bincount(block, weights=loss(predictions), minlength=count)
        rows = np.bincount(block, minlength=count).astype(np.float64)
        return lambda weights: finish(_divide(weights @ sums, weights @ rows))

    return make


def _log_loss(predictions: Predictions) -> Vector:
    positive = _binary(predictions.label)
    probability = np.clip(predictions.score, CLIP, 1 - CLIP)
    loss: Vector = -np.log(np.where(positive, probability, 1 - probability))
    return loss


def _accuracy(predictions: Predictions) -> Vector:
    """Scores are probabilities of class 1 if any lies between 0 and 1; else they are classes."""
    score = predictions.score
    between = ((score > 0) & (score < 1)).any()
    said = (score >= 0.5).astype(np.float64) if between else score
    right: Vector = (said == predictions.label).astype(np.float64)
    return right


def _binary(label: Vector) -> NDArray[np.bool_]:
    if not np.isin(label, (0.0, 1.0)).all():
        raise NotComparableError("the label must be 0 or 1 for this metric")
    positive: NDArray[np.bool_] = label == 1.0
    return positive


def _divide(numerator: Vector, denominator: Vector) -> Vector:
    out: Vector = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


METRICS: Final[dict[str, Callable[[Predictions, NDArray[np.int64]], Weighted]]] = {
    "auc": _auc,
    "accuracy": _mean(_accuracy),
    "log_loss": _mean(_log_loss),
    "brier": _mean(lambda made: (made.score - made.label) ** 2),
    "rmse": _mean(lambda made: (made.score - made.label) ** 2, np.sqrt),
    "mae": _mean(lambda made: np.abs(made.score - made.label)),
}
