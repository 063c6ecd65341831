"""Waits until enough labelled rows have arrived in the data sets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa

from everloop_training import store
from everloop_training.errors import DATA_MISSING, RunError
from everloop_training.parquet import SUFFIX, remote_rows
from everloop_training.runconfig import DataSet, NewData
from everloop_training.store import Remote
from everloop_training.times import rfc3339

log = logging.getLogger("everloop")
FIRST_PAUSE: Final = 1.0  # seconds between looks, growing by half …
LONGEST_PAUSE: Final = 10.0  # … to this
PATIENCE: Final = 6  # looks in a row that may fail: a store restarts


def wait_for_new_data(
    sets: Sequence[DataSet], wanted: NewData, sleep: Callable[[float], None] = time.sleep
) -> int:
    """Return the number of new rows once there are enough; the Job's deadline bounds the wait.

    New are the rows of Parquet files that were stored after `wanted.arrived_after`. Only footers of
    files not seen before are read. Raises RunError when the stores keep failing.
    """
    counter = Counter(sets, wanted)
    pause, failures, told = FIRST_PAUSE, 0, -1
    while True:
        try:
            rows = counter.count()
            failures = 0
        except (OSError, ValueError, pa.ArrowException) as error:
            failures += 1
            if failures >= PATIENCE:
                raise RunError(DATA_MISSING, f"new data cannot be counted: {error}") from error
            log.warning("new data cannot be counted, trying again: %s", error)
            rows = told
        if rows >= wanted.min_rows:
            log.info("new data: %d rows in %d files, enough", rows, counter.files)
            return rows
        if rows != told:
            log.info(
                "waiting for new data: %d of %d rows in %d files stored after %s",
                rows,
                wanted.min_rows,
                counter.files,
                rfc3339(wanted.arrived_after),
            )
            told, pause = rows, FIRST_PAUSE
        sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


class Counter:
    """Counts rows of new files, remembering the files it has read."""

    def __init__(self, sets: Sequence[DataSet], wanted: NewData) -> None:
        self._uris = [item.uri for item in sets]
        self._after = wanted.arrived_after
        self._known: dict[tuple[str, Remote], int] = {}
        self.files = 0

    def count(self) -> int:
        """Rows there are now. Raises OSError, ValueError or ArrowException."""
        total = self.files = 0
        for uri in self._uris:
            try:
                filesystem, remotes = store.list_files(uri)
            except FileNotFoundError:
                continue  # nothing has arrived yet
            new = [remote for remote in remotes if self._is_new(remote)]
            self._read(uri, filesystem, [item for item in new if (uri, item) not in self._known])
            total += sum(self._known[uri, remote] for remote in new)
            self.files += len(new)
        return total

    def _is_new(self, remote: Remote) -> bool:
        return (
            remote.name.endswith(SUFFIX)
            and remote.modified is not None
            and remote.modified > self._after
        )

    def _read(self, uri: str, filesystem: Any, unread: list[Remote]) -> None:
        rows = remote_rows(filesystem, unread)
        self._known.update({(uri, remote): rows[remote.path] for remote in unread})
