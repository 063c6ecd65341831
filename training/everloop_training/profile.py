"""The profile of a version: its reference in bins, and how far those move without any drift.

Input bins are of all rows of reference.parquet. Output bins are of held-out rows only: a model is
surer of rows it was trained on (a forest: PSI 0.45 against its own hold-out).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everloop.contract import CALIBRATION_FACTOR, CALIBRATION_WINDOWS
from everloop_training.bins import Bins, Codes, categorical_bins, numeric_bins

SCHEMA: Final = 1
MIN_HELD_OUT_ROWS: Final = 1000  # below, the output's bins would be noise
MIN_WINDOWS: Final = 5  # fewer say nothing about the largest of many
SMOOTHING: Final = 0.5  # counts added to each bin (Jeffreys), as the Monitor's rules do
NUMERIC_TYPES: Final = ("INT64", "FP64")

Matrix = NDArray[np.float64]


def build_profile(
    inputs: pd.DataFrame,
    datatypes: dict[str, str],
    *,
    output: pd.Series,
    output_numeric: bool,
    held_out: NDArray[np.bool_],
    times: pd.DatetimeIndex | None,
) -> dict[str, Any]:
    """The profile as JSON.

    `inputs`: columns as served, with their V2 `datatypes`; `output`: the monitored output of each
    row; `held_out`: rows the model has not seen; `times`: when each row happened, if known.
    """
    starts = (
        {}
        if times is None
        else {name: window_numbers(times, seconds) for name, seconds in CALIBRATION_WINDOWS.items()}
    )
    features, calibrations = [], {}
    for name, datatype in datatypes.items():
        make = numeric_bins if datatype in NUMERIC_TYPES else categorical_bins
        bins = make(name, inputs[name])
        codes = bins.codes(inputs[name])
        features.append(bins.to_dict(_fractions(codes, bins)))
        calibrations[name] = _calibration(codes, bins, starts)
    seen = output[held_out]
    out = (numeric_bins if output_numeric else categorical_bins)(str(output.name), seen)
    codes = out.codes(output)
    # The hold-out alone is often too short to say how far the output moves; all of the reference is
    # longer, though partly trained on. The wider of the two counts.
    both = [_calibration(codes, out, starts)]
    if times is not None:
        of_held_out = {
            name: window_numbers(times[held_out], seconds)
            for name, seconds in CALIBRATION_WINDOWS.items()
        }
        both.append(_calibration(codes[held_out], out, of_held_out))
    windows = {name for found in both for name in found}
    return {
        "schema": SCHEMA,
        "rows": len(inputs),
        "heldOutRows": int(held_out.sum()),
        "inputs": features,
        "outputs": [out.to_dict(_fractions(codes[held_out], out))],
        "calibration": {
            "input": calibrations,
            "output": {
                out.name: {
                    name: max(found[name] for found in both if name in found)
                    for name in CALIBRATION_WINDOWS
                    if name in windows
                }
            },
        },
    }


def window_numbers(times: pd.DatetimeIndex, seconds: int) -> Codes:
    """Which window from the first moment on each row is in; -1 for a row without a time."""
    offset = (times - times.min()).total_seconds().to_numpy()
    numbers = np.full(len(times), -1, dtype=np.int64)
    known = ~np.isnan(offset)
    numbers[known] = (offset[known] // seconds).astype(np.int64)
    return numbers


def largest_psi(codes: Codes, bins: int, windows: Codes) -> float | None:
    """The largest PSI of any window against all other rows; None if there are too few windows.

    Windows with less than half the rows of the median one are left out: the last one is usually
    incomplete, and a handful of rows measures chance.
    """
    known = windows >= 0
    codes, windows = codes[known], windows[known]
    if len(windows) == 0:
        return None
    numbers, index = np.unique(windows, return_inverse=True)
    counts = np.bincount(index * bins + codes, minlength=len(numbers) * bins)
    counts = counts.reshape(len(numbers), bins).astype(np.float64)
    rows = counts.sum(axis=1)
    counts = counts[rows >= np.median(rows) / 2]
    if len(counts) < MIN_WINDOWS:
        return None
    rest = counts.sum(axis=0) - counts
    return float(psi(counts, rest).max())


def psi(current: Matrix, reference: Matrix) -> Matrix:
    """Population stability index of histograms in the last axis, with Jeffreys' smoothing."""
    now, then = _shares(current), _shares(reference)
    result: Matrix = ((now - then) * np.log(now / then)).sum(axis=-1)
    return result


def _shares(counts: Matrix) -> Matrix:
    bins = counts.shape[-1]
    result: Matrix = (counts + SMOOTHING) / (counts.sum(axis=-1, keepdims=True) + SMOOTHING * bins)
    return result


def _calibration(codes: Codes, bins: Bins, windows: dict[str, Codes]) -> dict[str, float]:
    """By window, how far a bound must be above 0 for the reference itself to stay below it."""
    found = {name: largest_psi(codes, len(bins.labels), of) for name, of in windows.items()}
    return {name: CALIBRATION_FACTOR * value for name, value in found.items() if value is not None}


def _fractions(codes: Codes, bins: Bins) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = np.bincount(codes, minlength=len(bins.labels)).astype(np.float64)
    fractions: NDArray[np.float64] = counts / counts.sum()
    return fractions
