"""Requests are joined without any of them noticing."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from everloop_server.batching import Batcher
from everloop_server.signature import Columns


class Model:
    """Doubles x; refuses a batch with a negative value. Waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()

    def __call__(self, columns: Columns) -> Columns:
        self.go.wait(10)
        self.batches.append(len(columns["x"]))
        if (columns["x"] < 0).any():
            raise ValueError("negative")
        return {"predict": columns["x"] * 2, "predict_proba": np.stack([columns["x"]] * 2, axis=1)}


async def ask_all(
    model: Model, requests: list[list[int]], max_rows: int = 1024
) -> list[Columns | BaseException]:
    """The answers to requests that all arrive while the model is busy with the first."""
    batcher = Batcher(model, max_rows)
    batcher.start()
    try:
        tasks = [
            asyncio.create_task(batcher.submit({"x": np.array(values)})) for values in requests
        ]
        await asyncio.sleep(0)
        model.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await batcher.stop()


async def test_each_gets_its_own_rows() -> None:
    model = Model()
    requests = [[1], [2, 3], [4, 5, 6], [7]]
    answers = await ask_all(model, requests)
    for values, answer in zip(requests, answers, strict=True):
        assert isinstance(answer, dict)
        assert answer["predict"].tolist() == [2 * value for value in values]
        assert answer["predict_proba"].tolist() == [[value, value] for value in values]
    assert sum(model.batches) == 7
    assert len(model.batches) <= 2


async def test_one_bad_request_does_not_fail_the_others() -> None:
    good, bad, other = await ask_all(Model(), [[1], [-1], [3]])
    assert isinstance(good, dict)
    assert isinstance(bad, ValueError)
    assert isinstance(other, dict)
    assert other["predict"].tolist() == [6]


@pytest.mark.parametrize(("max_rows", "largest"), [(1, 2), (3, 3), (100, 7)])
async def test_batches_have_a_limit(max_rows: int, largest: int) -> None:
    """A request is never split, so one alone may be over it."""
    model = Model()
    await ask_all(model, [[1], [2, 3], [4, 5], [6], [7]], max_rows)
    assert sum(model.batches) == 7
    assert max(model.batches) <= largest


async def test_a_client_that_has_gone() -> None:
    model = Model()
    batcher = Batcher(model)
    batcher.start()
    first = asyncio.create_task(batcher.submit({"x": np.array([1])}))
    gone = asyncio.create_task(batcher.submit({"x": np.array([2])}))
    await asyncio.sleep(0)
    gone.cancel()
    model.go.set()
    assert (await first)["predict"].tolist() == [2]
    assert (await batcher.submit({"x": np.array([3])}))["predict"].tolist() == [6]
    await batcher.stop()
