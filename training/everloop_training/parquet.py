"""Rows and times of Parquet files, from their footers where those say enough."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from everloop.contract import COLUMN_TIME
from everloop_training.errors import DATA_MISSING, RunError
from everloop_training.store import THREADS, Local, Remote
from everloop_training.times import in_utc, rfc3339

SUFFIX: Final = ".parquet"
Span = tuple[datetime, datetime]


def rows_and_span(files: Iterable[Local]) -> tuple[int | None, dict[str, str] | None]:
    """Rows of all Parquet files together, and first and last moment of their `time` columns.

    None where there is no such file, or no such column. Raises RunError for a broken file.
    """
    paths = [file.path for file in files if file.name.endswith(SUFFIX)]
    if not paths:
        return None, None
    rows, spans = 0, []
    for path in paths:
        try:
            metadata = pq.read_metadata(path)
            rows += metadata.num_rows
            found = _span(path, metadata)
        except (OSError, pa.ArrowException) as error:
            raise RunError(
                DATA_MISSING, f"{path.name} is not a readable Parquet file: {error}"
            ) from error
        if found is not None:
            spans.append(found)
    if not spans:
        return rows, None
    start, end = min(low for low, _ in spans), max(high for _, high in spans)
    return rows, {"start": rfc3339(start), "end": rfc3339(end)}


def latest_before(paths: Iterable[Path], limit: datetime | None) -> datetime | None:
    """The latest `time` before `limit` in these files, or the latest at all without a limit."""
    latest: datetime | None = None
    for path in paths:
        found = _span(path, pq.read_metadata(path))
        if found is None:
            continue
        low, high = found
        if limit is not None and high >= limit:
            if low >= limit:
                continue
            high = max(time for time in _times(path) if time < limit)
        latest = high if latest is None else max(latest, high)
    return latest


def remote_rows(store: Any, remotes: Iterable[Remote]) -> dict[str, int]:
    """Rows of each Parquet file in a store, by path; only the footers are read."""

    def count(remote: Remote) -> int:
        with store.open(remote.path, "rb") as file:
            return int(pq.read_metadata(file).num_rows)

    remotes = list(remotes)
    with ThreadPoolExecutor(THREADS) as threads:
        counts = list(threads.map(count, remotes))
    return {remote.path: rows for remote, rows in zip(remotes, counts, strict=True)}


def _span(path: Path, metadata: Any) -> Span | None:
    """First and last moment of the `time` column; read from the column if the footer is silent."""
    schema = metadata.schema.to_arrow_schema()
    if COLUMN_TIME not in schema.names or not pa.types.is_temporal(schema.field(COLUMN_TIME).type):
        return None
    index = metadata.schema.names.index(COLUMN_TIME)
    bounds: list[tuple[Any, Any]] = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(index).statistics
        if statistics is None or not statistics.has_min_max:
            bounds = []
            break
        bounds.append((statistics.min, statistics.max))
    if bounds:
        low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
        if isinstance(low, datetime) and isinstance(high, datetime):
            return in_utc(low), in_utc(high)
    times = _times(path)
    return (min(times), max(times)) if times else None


def _times(path: Path) -> list[datetime]:
    column = pq.read_table(path, columns=[COLUMN_TIME]).column(COLUMN_TIME)
    micros = pc.cast(column.drop_null(), pa.timestamp("us", getattr(column.type, "tz", None)))
    return [in_utc(value) for value in micros.to_pylist()]
