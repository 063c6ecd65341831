"""Requests against the signature: what fits becomes columns, what does not says why."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from everloop_server.signature import Given, InvalidInputError, Signature, Tensor, decode

SIGNATURE = Signature(
    inputs=(
        Tensor("carrier", "BYTES"),
        Tensor("hour", "INT64"),
        Tensor("temp", "FP64"),
        Tensor("night", "BOOL"),
    ),
    outputs=(Tensor("predict", "INT64"),),
)


def request(**changes: Any) -> list[Given]:
    """A good request of two rows, some inputs replaced; None leaves one out."""
    good = {
        "carrier": Given("carrier", "BYTES", [2, 1], ["AA", "B6"]),
        "hour": Given("hour", "INT64", [2, 1], [6, 7]),
        "temp": Given("temp", "FP64", [2, 1], [1.5, None]),
        "night": Given("night", "BOOL", [2, 1], [True, False]),
    }
    return [given for given in {**good, **changes}.values() if given is not None]


def test_a_good_request() -> None:
    columns = decode(request(), SIGNATURE)
    assert list(columns) == ["carrier", "hour", "temp", "night"]
    assert columns["carrier"].tolist() == ["AA", "B6"]
    assert (columns["hour"].dtype, columns["hour"].tolist()) == (np.dtype(np.int64), [6, 7])
    assert columns["temp"][0] == 1.5
    assert np.isnan(columns["temp"][1])
    assert columns["night"].tolist() == [True, False]


def test_the_order_is_the_signatures() -> None:
    assert list(decode(reversed(request()), SIGNATURE)) == ["carrier", "hour", "temp", "night"]


@pytest.mark.parametrize(
    "given",
    [
        Given("temp", "FP64", [2], [1, 2]),
        Given("temp", "FP64", [2, 1], [[1.0], [2.0]]),
        Given("temp", "FP32", [2, 1], [1.0, 2.0]),
        Given("temp", "INT64", [2, 1], [1, 2]),
    ],
    ids=["flat shape", "nested data", "narrower", "whole"],
)
def test_what_loses_nothing_is_accepted(given: Given) -> None:
    assert decode(request(temp=given), SIGNATURE)["temp"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "datatype"), [("carrier", "BYTES"), ("hour", "INT64"), ("night", "BOOL")]
)
def test_null_is_missing(name: str, datatype: str) -> None:
    columns = decode(request(**{name: Given(name, datatype, [2, 1], [None, None])}), SIGNATURE)
    assert pd.isna(columns[name]).tolist() == [True, True]


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"temp": None}, "missing_input", "'temp' is missing"),
        ({"x": Given("x", "FP64", [2], [1, 2])}, "unknown_input", "no input 'x'"),
        ({"x": Given("temp", "FP64", [2], [1, 2])}, "duplicate_input", "'temp' is given twice"),
        ({"temp": Given("temp", "BYTES", [2], ["1", "2"])}, "datatype", "BYTES, not FP64"),
        ({"hour": Given("hour", "FP64", [2], [1, 2])}, "datatype", "FP64, not INT64"),
        ({"temp": Given("temp", "FP64", [3], [1, 2])}, "shape", "2 values"),
        ({"temp": Given("temp", "FP64", [2, 2], [1, 2, 3, 4])}, "shape", "[rows, 1]"),
        ({"temp": Given("temp", "FP64", [1, 2, 1], [1, 2])}, "shape", "[rows, 1]"),
        ({"temp": Given("temp", "FP64", [2, 1], [[1, 2], [3, 4]])}, "shape", "one value"),
        ({"temp": Given("temp", "FP64", [1], [1])}, "shape", "has 1 rows"),
        ({"temp": Given("temp", "FP64", [2], ["1", "2"])}, "value", 'not "1"'),
        ({"temp": Given("temp", "FP64", [2], [None, "2"])}, "value", 'not "2"'),
        ({"temp": Given("temp", "FP64", [2], [True, False])}, "value", "not true"),
        ({"temp": Given("temp", "FP64", [2], [1.0, float("inf")])}, "value", "infinite"),
        ({"temp": Given("temp", "FP64", [2], [1.0, [2.0]])}, "value", "numbers or null"),
        ({"temp": Given("temp", "FP64", [2], "12")}, "value", "must be a list"),
        ({"hour": Given("hour", "INT64", [2], [1.5, 2])}, "value", "whole numbers"),
        ({"hour": Given("hour", "INT64", [2], [None, 2.5])}, "value", "whole numbers"),
        ({"hour": Given("hour", "INT64", [2], [1, 10**400])}, "value", "too large"),
        ({"hour": Given("hour", "INT64", [2], [1, 2**63])}, "value", "too large"),
        ({"carrier": Given("carrier", "BYTES", [2], ["AA", 6])}, "value", "not 6"),
        ({"night": Given("night", "BOOL", [2], [True, 1])}, "value", "true or false"),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], reason: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode(request(**changes), SIGNATURE)
    assert caught.value.reason == reason
    assert said in str(caught.value)


def one_input(rows: int) -> list[Given]:
    return [Given("temp", "FP64", [rows], [0.0] * rows)]


@pytest.mark.parametrize(("rows", "reason"), [(0, "shape"), (10_001, "too_large")])
def test_numbers_of_rows(rows: int, reason: str) -> None:
    signature = Signature((Tensor("temp", "FP64"),), ())
    assert len(decode(one_input(10_000), signature)["temp"]) == 10_000
    with pytest.raises(InvalidInputError) as caught:
        decode(one_input(rows), signature)
    assert caught.value.reason == reason


def test_without_a_signature_the_request_says_what_there_is() -> None:
    columns = decode([Given("a", "INT32", [1], [1]), Given("b", "BYTES", [1], ["x"])], None)
    assert list(columns) == ["a", "b"]
    with pytest.raises(InvalidInputError, match="not supported"):
        decode([Given("a", "UINT64", [1], [1])], None)


def test_a_signature_is_read_as_it_is_written() -> None:
    assert Signature.from_json(json.dumps(SIGNATURE.to_dict())) == SIGNATURE
    assert Signature.from_json("") is None
    assert Signature.from_json("null") is None
    for wrong in ("{}", "[1]", "{", '{"inputs":[{"name":"a","datatype":"X"}],"outputs":[]}'):
        with pytest.raises(ValueError, match=r".+"):
            Signature.from_json(wrong)
