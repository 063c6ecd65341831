"""The example's data are honest: known before departure, in time order, and stable to the byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow.parquet as pq
import pytest
from flights import ID, INPUTS, LABEL, TIME
from prepare_data import SCHEMA, labelled_flights, write_days

KNOWN_ONLY_AFTERWARDS = ["dep_time", "dep_delay", "arr_time", "air_time"]
EPOCH = pd.Timestamp("2013-01-01T00:00Z")


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_columns_are_the_inputs_and_nothing_that_leaks() -> None:
    assert SCHEMA.names == [ID, TIME, *INPUTS, LABEL]
    calendar = {"year", "month", "day"}
    assert not calendar.union(KNOWN_ONLY_AFTERWARDS, ["arr_delay"]).intersection(SCHEMA.names)


@pytest.mark.parametrize("column", KNOWN_ONLY_AFTERWARDS)
def test_what_happens_after_departure_changes_no_row(
    flights: pd.DataFrame, weather: pd.DataFrame, column: str
) -> None:
    before = labelled_flights(flights, weather)
    after = labelled_flights(flights.assign(**{column: 9999.0}), weather)
    pd.testing.assert_frame_equal(before, after)


def test_arrival_delay_reaches_the_label_and_no_input(
    flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    arrived = flights["arr_delay"].notna()
    before = labelled_flights(flights, weather)
    after = labelled_flights(
        flights.assign(arr_delay=flights["arr_delay"].where(~arrived, 300.0)), weather
    )
    pd.testing.assert_frame_equal(before.drop(columns=LABEL), after.drop(columns=LABEL))
    assert set(before[LABEL]) == {0, 1}
    assert set(after[LABEL]) == {1}


@pytest.mark.parametrize(("delay", "late"), [(15.0, 0), (16.0, 1), (-5.0, 0)])
def test_late_means_more_than_fifteen_minutes(
    flights: pd.DataFrame, weather: pd.DataFrame, delay: float, late: int
) -> None:
    rows = labelled_flights(flights.assign(arr_delay=delay), weather)
    assert set(rows[LABEL]) == {late}


def test_weather_is_that_of_the_hour_before(flights: pd.DataFrame, weather: pd.DataFrame) -> None:
    rows = labelled_flights(flights, weather)
    hour_before = (rows[TIME].dt.floor("h") - EPOCH) // pd.Timedelta(hours=1) - 1
    airport = rows["origin"].map({"EWR": 0, "JFK": 1000, "LGA": 2000})
    assert (rows["temp"] == hour_before + airport).all()


def test_missing_weather_stays_missing_and_keeps_its_flight(
    flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    complete = labelled_flights(flights, weather)
    assert 0 < complete["pressure"].isna().sum() < len(complete)
    without = labelled_flights(flights, weather[weather["origin"] != "JFK"])
    assert len(without) == len(complete)
    assert without.loc[without["origin"] == "JFK", "temp"].isna().all()


def test_cancelled_flights_have_no_label_and_are_left_out(
    flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    rows = labelled_flights(flights, weather)
    assert len(rows) == flights["arr_delay"].notna().sum() < len(flights)


def test_files_follow_each_other_in_time(
    tmp_path: Path, flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    rows = labelled_flights(flights, weather)
    files, written = write_days(rows, str(tmp_path), "2013-01-03", "2013-01-05")
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [f"day=2013-01-0{day}.parquet" for day in (3, 4, 5)]
    stored = pd.concat([pq.read_table(path).to_pandas() for path in paths])
    assert files == 3
    assert written == len(stored)
    assert stored[TIME].is_monotonic_increasing
    assert stored[ID].is_unique


def test_the_same_input_in_any_order_gives_the_same_bytes(
    tmp_path: Path, flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    shuffled = flights.sample(frac=1, random_state=3), weather.sample(frac=1, random_state=4)
    for name, tables in {"one": (flights, weather), "two": shuffled}.items():
        write_days(labelled_flights(*tables), str(tmp_path / name), "2013-01-01", "2013-12-31")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(digests(tmp_path / "one")) == 14


def test_the_store_is_appended_to_and_never_rewritten(
    flights: pd.DataFrame, weather: pd.DataFrame
) -> None:
    store = fsspec.filesystem("memory")
    target = "memory://flights-append-only/days"
    rows = labelled_flights(flights, weather)
    assert write_days(rows, target, "2013-01-01", "2013-01-02")[0] == 2
    store.pipe_file("/flights-append-only/days/day=2013-01-02.parquet", b"as it was")
    assert write_days(rows, target, "2013-01-01", "2013-01-04")[0] == 2
    assert store.cat_file("/flights-append-only/days/day=2013-01-02.parquet") == b"as it was"
    assert len(store.ls("/flights-append-only/days")) == 4
