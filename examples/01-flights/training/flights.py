"""What the flights data are: columns, files, and the split by time. Shared by all three scripts.

Not among the inputs, on purpose: `dep_delay`, `dep_time`, `air_time` and everything else that is
known only after the doors have closed (leaks), and calendar dates (with one year of data no month
is ever seen twice, so a model can only memorise them).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

DAY_FILE = "day={day}.parquet"  # one per local calendar day; names sort in time order

ID = "flight_id"
TIME = "time"  # scheduled departure, UTC
LABEL = "late"  # 1: arrived more than LATE_MINUTES after schedule
LATE_MINUTES = 15

CATEGORICAL = ["carrier", "origin"]
INTEGERS = ["dep_hour", "dep_minute", "distance"]  # schedule, local time; miles
WEATHER = [  # at the origin, in the hour before the scheduled one; may be missing
    "temp",  # Fahrenheit
    "dewp",  # Fahrenheit
    "humid",  # per cent
    "wind_dir",  # degrees
    "wind_speed",  # miles per hour
    "precip",  # inches in the hour
    "pressure",  # millibars
    "visib",  # miles
]
INPUTS = [*CATEGORICAL, *INTEGERS, *WEATHER]  # what a request carries, in this order

HOLD_OUT_DAYS = 10  # the newest days: never trained on, both models are compared on them
REFERENCE_DAYS = 60  # the newest days: what the inputs normally look like, and how much they vary


def day_files(folder: Path) -> list[Path]:
    """The Parquet files under `folder` in time order; a ValueError when there are too few."""
    files = sorted(folder.rglob(DAY_FILE.format(day="*")), key=lambda path: path.name)
    if len(files) <= HOLD_OUT_DAYS:
        raise ValueError(
            f"{len(files)} days of data in {folder}: the newest {HOLD_OUT_DAYS} are held out, so "
            "at least one more is needed to train on"
        )
    return files


def read_days(files: list[Path]) -> pd.DataFrame:
    """The rows of these files, in time order."""
    return pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)


def training_files(files: list[Path]) -> list[Path]:
    """All days but the held-out ones."""
    return files[:-HOLD_OUT_DAYS]


def hold_out_files(files: list[Path]) -> list[Path]:
    """The newest days."""
    return files[-HOLD_OUT_DAYS:]
