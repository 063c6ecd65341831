"""reference.parquet and what the model says of it: the signature, and the profile."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everloop.contract import COLUMN_HELD_OUT, COLUMN_TIME, REFERENCE_NAME
from everloop_training.errors import BAD_OUTPUT, RunError
from everloop_training.profile import MIN_HELD_OUT_ROWS, build_profile
from everloop_training.timecolumn import utc_index

log = logging.getLogger("everloop")
DAYS_WANTED = 30  # windows of one day that show how much inputs move by themselves


@dataclass(frozen=True)
class Reference:
    """Signature, profile, and why there is none."""

    signature: dict[str, Any] | None
    profile: dict[str, Any] | None
    not_monitorable: str | None


def read_reference(path: Path, scores: Path, described: Path) -> Reference:
    """From the step's reference and the scoring process's files.

    Without a reference, or with too little of it, the version is registered all the same: then it
    can be served but not watched, and the text says what to add. Raises RunError(BadOutput) for a
    file that contradicts itself.
    """
    if not path.is_file():
        return Reference(
            None,
            None,
            f"the Evaluate step wrote no {REFERENCE_NAME}: write recent raw inputs with the "
            f"columns {COLUMN_TIME} and {COLUMN_HELD_OUT}",
        )
    made = json.loads(described.read_text())
    signature = made["signature"]
    rows = pd.read_parquet(path)
    if COLUMN_HELD_OUT not in rows.columns:
        return Reference(
            signature,
            None,
            f"{REFERENCE_NAME} has no column {COLUMN_HELD_OUT}: mark with true the rows that the "
            "model was not trained on",
        )
    held_out = _held_out(rows)
    if held_out.sum() < MIN_HELD_OUT_ROWS:
        return Reference(
            signature,
            None,
            f"{REFERENCE_NAME} has {held_out.sum()} held-out rows; at least {MIN_HELD_OUT_ROWS} "
            "are needed to know what the model's output looks like",
        )
    profile = build_profile(
        rows,
        {tensor["name"]: tensor["datatype"] for tensor in signature["inputs"]},
        output=pd.read_parquet(scores)[made["watched"]["name"]],
        output_numeric=made["watched"]["numeric"],
        held_out=held_out,
        times=_times(rows),
    )
    return Reference(signature, profile, None)


def _held_out(rows: pd.DataFrame) -> NDArray[np.bool_]:
    column = rows[COLUMN_HELD_OUT]
    if not pd.api.types.is_bool_dtype(column.dtype) or column.isna().any():
        raise RunError(
            BAD_OUTPUT,
            f"{REFERENCE_NAME}: column {COLUMN_HELD_OUT} must be true or false in every row, its "
            f"type is {column.dtype}",
        )
    return column.to_numpy(dtype=np.bool_)


def _times(rows: pd.DataFrame) -> pd.DatetimeIndex | None:
    if COLUMN_TIME not in rows.columns:
        log.info("%s has no %s: bounds of drift are not calibrated", REFERENCE_NAME, COLUMN_TIME)
        return None
    try:
        times = utc_index(rows[COLUMN_TIME])
    except (TypeError, ValueError) as error:
        raise RunError(
            BAD_OUTPUT, f"{REFERENCE_NAME}: column {COLUMN_TIME} must hold times: {error}"
        ) from error
    if times.isna().all():
        return None
    days = (times.max() - times.min()).total_seconds() / 86400
    if days < DAYS_WANTED:
        log.warning(
            "%s spans %.1f days; with fewer than %d windows a Monitor may alarm without drift",
            REFERENCE_NAME,
            days,
            DAYS_WANTED,
        )
    return times
