"""What the Evaluate step left: metrics, the hold-out, and the comparison with the champion."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from everloop import contract
from everloop_training.compare import (
    NotComparableError,
    Predictions,
    blocks,
    compare,
    metric_value,
)
from everloop_training.errors import BAD_METRICS, BAD_OUTPUT, RunError
from everloop_training.layout import Layout
from everloop_training.runconfig import RunConfig
from everloop_training.timecolumn import span, utc_index

MAX_METRICS: Final = 64
MAX_INTERVALS: Final = 16
METRIC_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
SAME: Final = 1e-3  # relative; a metric that is this far from ours is another metric


@dataclass(frozen=True)
class HoldOut:
    """predictions.parquet of one pass."""

    predictions: Predictions
    times: pd.DatetimeIndex | None
    digest: str  # of everything but the score: which rows, and their truth

    @property
    def rows(self) -> int:
        return len(self.predictions.score)

    def to_dict(self) -> dict[str, Any]:
        time_span = span(self.times) if self.times is not None else None
        return {"digest": self.digest, "rows": self.rows, "timeSpan": time_span}


def number(value: float) -> str:
    """A number as the API takes it: short, at most 32 characters."""
    text = f"{value:.10g}"
    return "0" if text == "-0" else text


def read_metrics(path: Path, required_by: str | None) -> dict[str, float]:
    """metrics.json. Raises RunError(BadMetrics) for what is not names and finite numbers."""
    if not path.is_file():
        if required_by is None:
            return {}
        raise RunError(
            BAD_METRICS,
            f"step {required_by} has role Evaluate but wrote no {contract.METRICS_NAME}; write "
            f'{{"val_auc": 0.7}} to ${contract.ENV_OUTPUT_DIR}/{contract.METRICS_NAME}',
        )
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise RunError(BAD_METRICS, f"{contract.METRICS_NAME} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise RunError(BAD_METRICS, f"{contract.METRICS_NAME} must be an object: name → number")
    if len(data) > MAX_METRICS:
        raise RunError(BAD_METRICS, f"{len(data)} metrics; write at most {MAX_METRICS}")
    for name, value in data.items():
        if not METRIC_NAME.fullmatch(name):
            raise RunError(
                BAD_METRICS, f"metric {name[:80]!r}: a name has letters, digits, . _ - (at most 63)"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _finite(value):
            raise RunError(
                BAD_METRICS,
                f"metric {name} is {json.dumps(value)[:80]}; write a finite number",
            )
    return {name: float(value) for name, value in data.items()}


def read_hold_out(path: Path) -> HoldOut | None:
    """predictions.parquet; None if there is none. Raises RunError(BadOutput)."""
    if not path.is_file():
        return None
    try:
        table = pd.read_parquet(path)
        score = table[contract.COLUMN_SCORE].to_numpy(dtype=np.float64, na_value=np.nan)
        label = table[contract.COLUMN_LABEL].to_numpy(dtype=np.float64, na_value=np.nan)
        times = (
            utc_index(table[contract.COLUMN_TIME])
            if contract.COLUMN_TIME in table.columns
            else None
        )
    except KeyError as error:
        raise RunError(
            BAD_OUTPUT,
            f"{contract.PREDICTIONS_NAME} has no column {error}; it needs score and label "
            "(numbers), and may have time",
        ) from error
    except (OSError, TypeError, ValueError) as error:
        raise RunError(
            BAD_OUTPUT, f"{contract.PREDICTIONS_NAME} cannot be read: {error}"
        ) from error
    if len(score) == 0 or np.isnan(score).any() or np.isnan(label).any():
        raise RunError(
            BAD_OUTPUT, f"{contract.PREDICTIONS_NAME} has no rows, or missing scores or labels"
        )
    if times is not None and times.hasnans:
        raise RunError(BAD_OUTPUT, f"{contract.PREDICTIONS_NAME} has rows without a time")
    return HoldOut(Predictions(score, label), times, _rows_digest(table))


def versus(
    layout: Layout,
    config: RunConfig,
    *,
    candidate_metrics: Mapping[str, float],
    candidate: HoldOut | None,
    steps: Mapping[str, Mapping[str, Any]],
    champion_problem: str,
) -> dict[str, Any] | None:
    """The report's `versus`; None without a champion or without metrics to compare."""
    if config.champion is None or config.evaluate_step is None or not config.versus:
        return None
    record = steps.get(config.evaluate_step + contract.CHAMPION_PASS_SUFFIX)
    problem = champion_problem or _pass_problem(record)
    if problem:
        return _failed(problem)
    try:
        metrics = read_metrics(layout.champion / contract.METRICS_NAME, config.evaluate_step)
        champion = read_hold_out(layout.champion / contract.PREDICTIONS_NAME)
    except RunError as error:
        return _failed(f"pass champion: {error}")
    if candidate and champion and candidate.digest != champion.digest:
        return _failed(
            f"the two passes scored different rows ({candidate.rows} and {champion.rows}); both "
            "must write the same rows of the hold-out in the same order"
        )
    intervals, notes = {}, []
    for wanted in config.versus[:MAX_INTERVALS]:
        try:
            intervals[wanted.metric] = _interval(
                wanted.metric,
                wanted.maximize,
                candidate_metrics=candidate_metrics,
                champion_metrics=metrics,
                candidate=candidate,
                champion=champion,
            )
        except NotComparableError as error:
            notes.append(f"{wanted.metric}: no interval, {error}")
    return {
        "outcome": "Compared",
        "message": "; ".join(notes),
        "metrics": {name: number(value) for name, value in metrics.items()},
        "intervals": intervals,
    }


def _interval(
    metric: str,
    maximize: bool,
    *,
    candidate_metrics: Mapping[str, float],
    champion_metrics: Mapping[str, float],
    candidate: HoldOut | None,
    champion: HoldOut | None,
) -> dict[str, str]:
    if metric not in candidate_metrics or metric not in champion_metrics:
        raise NotComparableError(f"it is not in {contract.METRICS_NAME} of both passes")
    if candidate is None or champion is None:
        raise NotComparableError(
            f"the Evaluate step wrote no {contract.PREDICTIONS_NAME}; the values are "
            f"{number(candidate_metrics[metric])} and {number(champion_metrics[metric])}"
        )
    for said, made in ((candidate_metrics, candidate), (champion_metrics, champion)):
        ours = metric_value(metric, made.predictions)
        if not math.isclose(ours, said[metric], rel_tol=SAME, abs_tol=1e-9):
            raise NotComparableError(
                f"{contract.METRICS_NAME} says {number(said[metric])}, but "
                f"{contract.PREDICTIONS_NAME} gives {number(ours)}: it is another metric, or of "
                "other rows"
            )
    block = blocks(candidate.rows, candidate.times)
    difference = compare(metric, maximize, candidate.predictions, champion.predictions, block)
    return {
        "difference": number(difference.value),
        "low": number(difference.low),
        "high": number(difference.high),
    }


def _failed(message: str) -> dict[str, Any]:
    return {"outcome": "Failed", "message": message[:4000], "metrics": {}, "intervals": {}}


def _pass_problem(record: Mapping[str, Any] | None) -> str:
    """Why the champion's pass gave nothing; empty if it ended well."""
    if record is None:
        return "its pass left no record"
    if record.get("exitCode") == 0:
        return ""
    lines = "\n".join(record.get("lastLines") or [])
    return f"its pass exited with code {record.get('exitCode')}; last lines:\n{lines}"


def _rows_digest(table: pd.DataFrame) -> str:
    """Which rows these are: all columns but the score, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(str(name) for name in table.columns):
        if name == contract.COLUMN_SCORE:
            continue
        hashed = pd.util.hash_pandas_object(table[name], index=False).to_numpy()
        digest.update(f"{name}\0".encode() + hashed.astype("<u8").tobytes())
    return f"sha256:{digest.hexdigest()}"


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond a float's range
        return False
