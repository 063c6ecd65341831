"""Runs in a pod: requests at a fixed rate, whose inputs lie around the mean that a file names."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import aiohttp

URL, RATE = os.environ["URL"], float(os.environ["RATE"])
MEAN = Path("/tmp/mean")
MOST_UNDER_WAY = 50  # a client that waits sends no more
answers: collections.Counter[str] = collections.Counter()


def read_mean(before: float) -> float:
    return float(MEAN.read_text()) if MEAN.exists() else before


async def one(session: aiohttp.ClientSession, mean: float) -> None:
    values = {"x": random.gauss(mean, 1), "y": random.gauss(0, 1)}
    inputs = [
        {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [value]}
        for name, value in values.items()
    ]
    try:
        async with session.post(URL, json={"inputs": inputs}) as response:
            await response.read()
            answers[str(response.status)] += 1
    except (aiohttp.ClientError, TimeoutError) as error:
        answers[type(error).__name__] += 1


async def main() -> None:
    running: set[asyncio.Task[Any]] = set()
    mean, due, said = float(os.environ["FIRST_MEAN"]), time.monotonic(), 0.0
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            if len(running) < MOST_UNDER_WAY:
                task = asyncio.create_task(one(session, mean))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                answers["not sent"] += 1
            if time.monotonic() > said + 1:
                said = time.monotonic()
                print(json.dumps({"mean": mean, "answers": answers}), flush=True)
                mean = read_mean(mean)
            due = max(due + 1 / RATE, time.monotonic() - 1)  # what was missed is not made up for
            await asyncio.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    asyncio.run(main())
