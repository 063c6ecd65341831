"""Requests that wait while the model is busy are answered together.

A pipeline of scikit-learn takes nearly as long for one row as for thirty. One thread runs the
model; what arrives meanwhile becomes the next batch. Nothing ever waits for a batch to fill, and
the event loop stays free for health checks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from everloop_server.signature import Array, Columns

Outputs = dict[str, Array]
MAX_BATCH_ROWS: Final = 1024  # more in one go would make the first of them wait for the last


@dataclass(frozen=True)
class _Item:
    columns: Columns
    rows: int
    answer: asyncio.Future[Outputs]


class Batcher:
    """Runs `run` (columns of many rows in, outputs out) for all requests of a server.

    Requests are joined while they have at most `max_rows` rows together; 1 keeps each to itself.
    """

    def __init__(self, run: Callable[[Columns], Outputs], max_rows: int = MAX_BATCH_ROWS) -> None:
        self._run = run
        self._max_rows = max_rows
        self._waiting: asyncio.Queue[_Item] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take requests; call it in the event loop."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End. Requests that wait get no answer, so stop listening before."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=True)

    async def submit(self, columns: Columns) -> Outputs:
        """The outputs of one request. Raises what `run` raises for this request alone."""
        rows = len(next(iter(columns.values())))
        item = _Item(columns, rows, asyncio.get_running_loop().create_future())
        self._waiting.put_nowait(item)
        return await item.answer

    async def _work(self) -> None:
        held: _Item | None = None
        while True:
            items = [held or await self._waiting.get()]
            held = None
            rows = items[0].rows
            while not self._waiting.empty():
                item = self._waiting.get_nowait()
                if rows + item.rows > self._max_rows:
                    held = item
                    break
                items.append(item)
                rows += item.rows
            await self._answer(items)

    async def _answer(self, items: Sequence[_Item]) -> None:
        items = [item for item in items if not item.answer.cancelled()]
        if not items:
            return
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self._thread, self._run, _joined(items))
        except Exception as error:
            if len(items) == 1:
                _settle(items[0], error)
            for item in items if len(items) > 1 else ():  # one bad request must not fail the others
                await self._answer([item])
            return
        start = 0
        for item in items:
            part = {name: values[start : start + item.rows] for name, values in outputs.items()}
            start += item.rows
            _settle(item, part)


def _joined(items: Sequence[_Item]) -> Columns:
    if len(items) == 1:
        return items[0].columns
    first = items[0].columns
    return {name: np.concatenate([item.columns[name] for item in items]) for name in first}


def _settle(item: _Item, result: Outputs | Exception) -> None:
    if item.answer.done():  # the client has gone
        return
    if isinstance(result, Exception):
        item.answer.set_exception(result)
    else:
        item.answer.set_result(result)
