"""A model's inputs and outputs, as V2 metadata; and requests checked against them.

A request becomes one numpy array per column. Whatever does not fit is an InvalidInputError whose
message names the input and says what was expected; its `reason` is the label it is counted under.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = dict[str, Array]

BOOL, INT64, FP64, BYTES = "BOOL", "INT64", "FP64", "BYTES"
INTEGERS: Final = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"})
# Datatypes a request may use for each datatype of a signature: those that lose nothing.
ACCEPTED: Final = {
    BOOL: frozenset({BOOL}),
    INT64: INTEGERS,
    FP64: INTEGERS | {"FP16", "FP32", "FP64"},
    BYTES: frozenset({BYTES}),
}
MAX_ROWS: Final = 10_000  # of one request: a larger one would keep all others waiting

MISSING_INPUT: Final = "missing_input"
UNKNOWN_INPUT: Final = "unknown_input"
DUPLICATE_INPUT: Final = "duplicate_input"
UNKNOWN_OUTPUT: Final = "unknown_output"
DATATYPE: Final = "datatype"
SHAPE: Final = "shape"
VALUE: Final = "value"
TOO_LARGE: Final = "too_large"
REASONS: Final = (
    MISSING_INPUT,
    UNKNOWN_INPUT,
    DUPLICATE_INPUT,
    UNKNOWN_OUTPUT,
    DATATYPE,
    SHAPE,
    VALUE,
    TOO_LARGE,
)


class InvalidInputError(Exception):
    """A request that does not fit the signature."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Tensor:
    """One column; shape [-1, 1] is one value a row."""

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1, 1)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Signature:
    """What the model takes and gives, in order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @classmethod
    def from_json(cls, text: str) -> Signature | None:
        """Read it; None for an empty text or `null`. Raises ValueError if it is something else."""
        data = json.loads(text) if text.strip() else None
        if data is None:
            return None
        try:
            inputs, outputs = (_tensors(data[key]) for key in ("inputs", "outputs"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"a signature has inputs and outputs: {error}") from error
        return cls(inputs, outputs)

    def to_dict(self) -> dict[str, Any]:
        return {
            "inputs": [tensor.to_dict() for tensor in self.inputs],
            "outputs": [tensor.to_dict() for tensor in self.outputs],
        }


@dataclass(frozen=True)
class Given:
    """One input as a request gives it."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: Any


def decode(given: Iterable[Given], signature: Signature | None) -> Columns:
    """The request's columns in the order of the signature (without one: as they are given).

    Raises InvalidInputError, with the first thing that does not fit.
    """
    by_name: dict[str, Given] = {}
    for item in given:
        if item.name in by_name:
            raise InvalidInputError(DUPLICATE_INPUT, f"input {item.name!r} is given twice")
        by_name[item.name] = item
    if signature is None:
        expected: tuple[Tensor, ...] = tuple(
            Tensor(item.name, _widest(item.datatype)) for item in by_name.values()
        )
    else:
        expected = signature.inputs
        _check_names(by_name, expected)
    columns = {tensor.name: _column(by_name[tensor.name], tensor) for tensor in expected}
    _check_rows(columns)
    return columns


def frame(columns: Mapping[str, Array]) -> pd.DataFrame:
    """The table that the model sees; the same for a request and for the runner's reference."""
    return pd.DataFrame(dict(columns), copy=False)


def _check_names(by_name: Mapping[str, Given], expected: Sequence[Tensor]) -> None:
    names = [tensor.name for tensor in expected]
    missing = [name for name in names if name not in by_name]
    if missing:
        raise InvalidInputError(
            MISSING_INPUT,
            f"input {missing[0]!r} is missing ({len(missing)} of {len(names)} are); a value that "
            "is not known is given as null",
        )
    if len(by_name) > len(names):
        unknown = next(name for name in by_name if name not in set(names))
        raise InvalidInputError(
            UNKNOWN_INPUT, f"the model has no input {unknown!r}; it takes: {', '.join(names)}"
        )


def _check_rows(columns: Columns) -> None:
    rows = {name: len(values) for name, values in columns.items()}
    if len(set(rows.values())) > 1:
        (first, count), *others = rows.items()
        name, other = next(item for item in others if item[1] != count)
        raise InvalidInputError(
            SHAPE, f"input {name!r} has {other} rows, but {first!r} has {count}: all must be equal"
        )
    count = next(iter(rows.values()), 0)
    if count == 0:
        raise InvalidInputError(SHAPE, "the request has no rows")
    if count > MAX_ROWS:
        raise InvalidInputError(TOO_LARGE, f"{count} rows; send at most {MAX_ROWS} in one request")


def _column(given: Given, tensor: Tensor) -> Array:
    if given.datatype not in ACCEPTED[tensor.datatype]:
        raise InvalidInputError(
            DATATYPE, f"input {given.name!r} has datatype {given.datatype}, not {tensor.datatype}"
        )
    data = _flat(given)
    if tensor.datatype == FP64:
        return _numbers(given.name, data)
    if tensor.datatype == INT64:
        return _integers(given.name, data)
    return _of_type(given.name, data, bool if tensor.datatype == BOOL else str, tensor.datatype)


def _flat(given: Given) -> list[Any]:
    """One value a row, from a flat list or from rows of one value."""
    shape, data = list(given.shape), given.data
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        raise InvalidInputError(
            SHAPE, f"input {given.name!r} has shape {shape}; it must be [rows, 1] or [rows]"
        )
    if not isinstance(data, list):
        raise InvalidInputError(VALUE, f"data of input {given.name!r} must be a list")
    if data and isinstance(data[0], list):
        if any(not isinstance(row, list) or len(row) != 1 for row in data):
            raise InvalidInputError(SHAPE, f"each row of input {given.name!r} must hold one value")
        data = [row[0] for row in data]
    if len(data) != shape[0]:
        raise InvalidInputError(
            SHAPE, f"input {given.name!r} has shape {shape} but {len(data)} values in its data"
        )
    return data


def _numbers(name: str, data: list[Any]) -> Array:
    """float64 with NaN for null."""
    array = _array(data)
    if array.dtype.kind == "O" and all(
        value is None or type(value) in (int, float) for value in data
    ):
        try:
            array = np.array(data, dtype=np.float64)
        except OverflowError as error:
            raise InvalidInputError(VALUE, f"input {name!r} holds a number too large") from error
    if array.dtype.kind not in "iuf" or array.ndim != 1:
        raise InvalidInputError(VALUE, f"input {name!r} must hold numbers or null{_culprit(data)}")
    array = array.astype(np.float64, copy=False)
    if np.isinf(array).any():
        raise InvalidInputError(
            VALUE, f"input {name!r} holds an infinite number; send null instead"
        )
    return array


def _integers(name: str, data: list[Any]) -> Array:
    """int64, or float64 with NaN where a value is null."""
    array = _array(data)
    if array.dtype.kind == "i" and array.ndim == 1:
        return array.astype(np.int64, copy=False)
    numbers = _numbers(name, data)
    known = numbers[~np.isnan(numbers)]
    if (known != np.trunc(known)).any():
        raise InvalidInputError(VALUE, f"input {name!r} must hold whole numbers or null")
    if (np.abs(known) >= 2.0**63).any():
        raise InvalidInputError(VALUE, f"input {name!r} holds a number too large for INT64")
    return numbers if len(known) < len(numbers) else numbers.astype(np.int64)


def _of_type(name: str, data: list[Any], kind: type, datatype: str) -> Array:
    """Texts as objects, truth values as bool; null is NaN, as pandas reads it from Parquet."""
    missing = 0
    for value in data:
        if value is None:
            missing += 1
        elif type(value) is not kind:
            raise InvalidInputError(
                VALUE,
                f"input {name!r} must hold {'text' if kind is str else 'true or false'} or null "
                f"({datatype}), not {json.dumps(value)[:60]}",
            )
    if missing:
        data = [np.nan if value is None else value for value in data]
    elif kind is bool:
        return np.array(data, dtype=np.bool_)
    array = np.empty(len(data), dtype=object)
    array[:] = data
    return array


def _array(data: list[Any]) -> Array:
    try:
        return np.asarray(data)
    except (ValueError, OverflowError):  # lists of different lengths
        return np.empty((0, 0), dtype=object)


def _culprit(data: list[Any]) -> str:
    """The first value that is not a number, for the message."""
    for value in data:
        if value is not None and type(value) not in (int, float):
            return f", not {json.dumps(value)[:60]}"
    return ""


def _widest(datatype: str) -> str:
    for widest, accepted in ACCEPTED.items():
        if datatype in accepted:
            return widest
    raise InvalidInputError(
        DATATYPE, f"datatype {datatype} is not supported: use {', '.join(ACCEPTED)}"
    )


def _tensors(items: Iterable[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    tensors = tuple(
        Tensor(item["name"], item["datatype"], tuple(item.get("shape") or (-1, 1)))
        for item in items
    )
    for tensor in tensors:
        if tensor.datatype not in ACCEPTED:
            raise ValueError(f"{tensor.name!r} has datatype {tensor.datatype}")
    return tensors
