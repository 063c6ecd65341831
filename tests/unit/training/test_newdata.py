"""Waiting for labels: rows of files stored after a moment, in Parquet footers."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from everloop_training.errors import RunError
from everloop_training.newdata import wait_for_new_data
from everloop_training.runconfig import DataSet, NewData


class Store:
    """A folder to which files are added with a given modification time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.sets = [DataSet("days", f"file://{folder}/")]

    def add(self, name: str, rows: int, stored: int) -> None:
        path = self.folder / name
        pd.DataFrame({"x": range(rows)}).to_parquet(path)
        os.utime(path, (stored, stored))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def after(moment: int, rows: int) -> NewData:
    return NewData(rows, datetime.fromtimestamp(moment, UTC))


def test_only_what_was_stored_later_counts(store: Store) -> None:
    store.add("old.parquet", 500, stored=100)
    store.add("same.parquet", 500, stored=200)
    store.add("new.parquet", 30, stored=201)
    pauses: list[float] = []

    def arrive(pause: float) -> None:
        pauses.append(pause)
        if len(pauses) == 3:
            store.add("newer.parquet", 70, stored=300)

    assert wait_for_new_data(store.sets, after(200, 100), sleep=arrive) == 100
    assert len(pauses) == 3
    assert pauses == sorted(pauses)


def test_an_empty_store_is_waited_for(store: Store) -> None:
    store.folder.rmdir()

    def arrive(_pause: float) -> None:
        store.folder.mkdir()
        store.add("new.parquet", 10, stored=300)

    assert wait_for_new_data(store.sets, after(200, 10), sleep=arrive) == 10


def test_a_file_is_read_once(store: Store) -> None:
    """Not read again unless it changes: after the first look its content is gone."""
    store.add("new.parquet", 30, stored=300)

    def spoil(_pause: float) -> None:
        path = store.folder / "new.parquet"
        path.write_bytes(b"\0" * path.stat().st_size)
        os.utime(path, (300, 300))
        store.add("newer.parquet", 70, stored=301)

    assert wait_for_new_data(store.sets, after(200, 100), sleep=spoil) == 100


def test_other_files_do_not_count(store: Store) -> None:
    store.add("new.csv", 100, stored=300)
    looks = 0

    def count(_pause: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            store.add("new.parquet", 100, stored=300)

    assert wait_for_new_data(store.sets, after(200, 100), sleep=count) == 100
    assert looks == 2


def test_a_store_that_keeps_failing_ends_the_wait(store: Store) -> None:
    store.add("new.parquet", 10, stored=300)
    (store.folder / "new.parquet").write_bytes(b"broken")
    os.utime(store.folder / "new.parquet", (300, 300))
    with pytest.raises(RunError, match="new data cannot be counted"):
        wait_for_new_data(store.sets, after(200, 10), sleep=lambda _pause: None)
