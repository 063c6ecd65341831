"""The flights of 2013 as the demo needs them: labels into the store, requests for the model."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

EXAMPLE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(EXAMPLE), str(EXAMPLE / "training")]

from flights import CATEGORICAL, ID, INPUTS, INTEGERS, LABEL, TIME  # noqa: E402
from prepare_data import labelled_flights, load_tables, write_days  # noqa: E402

BUCKET = "flights"
DAYS_URI = f"s3://{BUCKET}/days"
LOCAL = "America/New_York"
DATATYPES = {
    **dict.fromkeys(CATEGORICAL, "BYTES"),
    **dict.fromkeys(INTEGERS, "INT64"),
}  # all others are FP64


@dataclass(frozen=True)
class Store:
    """The S3 store, through a port-forward."""

    address: str
    access_key: str
    secret_key: str

    def options(self) -> dict[str, Any]:
        """Arguments of s3fs."""
        return {
            "key": self.access_key,
            "secret": self.secret_key,
            "endpoint_url": f"http://{self.address}",
            "config_kwargs": {"s3": {"addressing_style": "path"}},
        }


@dataclass(frozen=True)
class Flight:
    """One request to come: its id, when it is due (seconds after local midnight), its row."""

    id: str
    second: float
    row: dict[str, Any]


class Flights:
    """All labelled flights; loaded once, which takes a few seconds."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows
        self._upload = asyncio.Lock()  # days arrive in order

    @classmethod
    async def load(cls) -> Flights:
        """Read them in a thread."""
        return cls(await asyncio.to_thread(lambda: labelled_flights(*load_tables())))

    async def upload(self, store: Store, first: date, last: date) -> tuple[int, int]:
        """Append these days to the store; (files, rows) that were not there."""
        async with self._upload:
            return await asyncio.to_thread(
                write_days, self.rows, DAYS_URI, str(first), str(last), **store.options()
            )

    def of_day(self, day: date, one_in: int) -> list[Flight]:
        """One flight in `one_in` of a day, always the same ones, in order of departure."""
        rows = self.rows[self.rows["day"] == str(day)]
        rows = rows[[_number(one) % one_in == 0 for one in rows[ID]]]
        local = rows[TIME].dt.tz_convert(LOCAL)
        seconds = (local - local.dt.normalize()).dt.total_seconds()
        records = _records(rows)
        ids: list[str] = rows[ID].tolist()
        return [Flight(*one) for one in zip(ids, seconds.tolist(), records, strict=True)]

    def between(self, first: date, last: date) -> tuple[list[dict[str, Any]], list[int]]:
        """Inputs and labels of all flights of these days."""
        rows = self.rows[self.rows["day"].between(str(first), str(last))]
        return _records(rows), rows[LABEL].tolist()


def request(rows: list[dict[str, Any]], id_: str) -> dict[str, Any]:
    """A V2 (Open Inference Protocol) request: one input per column; null where it is missing."""
    inputs = [
        {
            "name": name,
            "datatype": DATATYPES.get(name, "FP64"),
            "shape": [len(rows), 1],
            "data": [row[name] for row in rows],
        }
        for name in INPUTS
    ]
    return {"id": id_, "inputs": inputs}


def _number(flight: str) -> int:
    return int(hashlib.sha256(flight.encode()).hexdigest(), 16)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    columns = rows[INPUTS].astype(object)
    rows_of_dicts = columns.where(columns.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows_of_dicts]
