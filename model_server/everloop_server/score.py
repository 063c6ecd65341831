"""`python -m everloop_server.score`: scores a table with the serving loader, for the runner.

Writes the monitored output of each row and the model's signature. Without --input it only loads the
model. A failure is one JSON line {"reason", "message"} on stderr and exit code 3.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from everloop import contract
from everloop_server.errors import ModelNotLoadableError, ServerError
from everloop_server.loader import Predictor, load, tensors
from everloop_server.signature import (
    BOOL,
    BYTES,
    FP64,
    INT64,
    Array,
    Columns,
    Signature,
    Tensor,
    frame,
)

RESERVED = (contract.COLUMN_TIME, contract.COLUMN_LABEL, contract.COLUMN_HELD_OUT)
EXIT_FAILURE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="everloop_server.score")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--format", default="sklearn")
    parser.add_argument("--input", type=Path, help="Parquet file of raw inputs")
    parser.add_argument("--output", type=Path, help="Parquet file of scores to write")
    parser.add_argument("--signature-out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    try:
        predictor = load(options.model, options.format)
        if options.input:
            score(predictor, options.input, options.output, options.signature_out)
    except ServerError as error:
        sys.stderr.write(json.dumps({"reason": error.reason, "message": str(error)}) + "\n")
        return EXIT_FAILURE
    return 0


def score(predictor: Predictor, source: Path, target: Path, signature_path: Path) -> None:
    """Score the table `source`. Raises ModelNotLoadableError if the model cannot take its rows."""
    rows = pd.read_parquet(source)
    columns, inputs = served_columns(rows, predictor.feature_names)
    try:
        outputs = predictor.predict(frame(columns))
    except Exception as error:
        raise ModelNotLoadableError(
            f"the model fails on the rows of {source.name}, so it would fail on requests: "
            f"{type(error).__name__}: {error}"
        ) from error
    watched = predictor.watched
    signature = Signature(inputs, tensors(outputs))
    pd.DataFrame({watched.name: predictor.watched_values(outputs)}).to_parquet(target, index=False)
    signature_path.write_text(
        json.dumps(
            {
                "signature": signature.to_dict(),
                "watched": {"name": watched.name, "numeric": watched.numeric},
            }
        )
    )


def served_columns(
    rows: pd.DataFrame, feature_names: list[str] | None
) -> tuple[Columns, tuple[Tensor, ...]]:
    """The model's inputs as arrays of the types a request has, and their metadata.

    The columns are those the model was trained on; for a model that does not know them, all but
    `time`, `label` and `held_out`.
    """
    names = feature_names or [str(name) for name in rows.columns if name not in RESERVED]
    missing = [name for name in names if name not in rows.columns]
    if missing:
        raise ModelNotLoadableError(
            f"the model was trained on the column {missing[0]!r}, which is not in the reference: "
            "write the raw inputs, as they are served, into reference.parquet"
        )
    reserved = [name for name in names if name in RESERVED]
    if reserved:
        raise ModelNotLoadableError(
            f"the model has an input called {reserved[0]!r}, which has a meaning of its own in "
            "reference.parquet: give the input another name"
        )
    if not names:
        raise ModelNotLoadableError("the reference has no input columns")
    columns: Columns = {}
    inputs = []
    for name in names:
        columns[name], datatype = as_served(rows[name])
        inputs.append(Tensor(name, datatype))
    return columns, tuple(inputs)


def as_served(column: pd.Series) -> tuple[Array, str]:
    """A column of a Parquet file as a request would carry it, and its V2 datatype."""
    missing = column.isna().to_numpy()
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if pd.api.types.is_bool_dtype(column.dtype):
        return _with_missing(column, missing, np.dtype(np.bool_)), BOOL
    if pd.api.types.is_integer_dtype(column.dtype):
        if missing.any():
            return column.to_numpy(dtype=np.float64, na_value=np.nan), INT64
        return column.to_numpy(dtype=np.int64), INT64
    if pd.api.types.is_float_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan), FP64
    known = column[~missing]
    if all(isinstance(value, str) for value in known):
        return _with_missing(column, missing, np.dtype(object)), BYTES
    if all(isinstance(value, (bool, np.bool_)) for value in known):
        return _with_missing(column, missing, np.dtype(np.bool_)), BOOL
    raise ModelNotLoadableError(
        f"column {column.name!r} of the reference has type {column.dtype}, which a request cannot "
        "carry: use numbers, texts or truth values, and convert inside the pipeline"
    )


def _with_missing(column: pd.Series, missing: Array, dtype: np.dtype) -> Array:
    if not missing.any():
        return column.to_numpy(dtype=dtype)
    values: Array = column.astype(object).to_numpy(copy=True)
    values[missing] = np.nan
    return values


if __name__ == "__main__":
    sys.exit(main())
