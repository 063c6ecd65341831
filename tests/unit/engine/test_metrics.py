"""The operator's own metrics tell what a leak would show in."""

from __future__ import annotations

import asyncio

from prometheus_client import generate_latest

from everloop.metrics import Metrics


def _values(metrics: Metrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs if "{" not in name}


async def test_tasks_of_the_loop_are_counted() -> None:
    metrics, end = Metrics(), asyncio.Event()
    before = _values(metrics)["everloop_operator_tasks"]
    more = [asyncio.create_task(end.wait()) for _ in range(3)]
    assert _values(metrics)["everloop_operator_tasks"] == before + 3
    end.set()
    await asyncio.gather(*more)
    assert _values(metrics)["everloop_operator_tasks"] == before


def test_memory_and_open_files_are_told_without_a_loop() -> None:
    values = _values(Metrics())
    assert values["process_resident_memory_bytes"] > 0
    assert values["process_open_fds"] > 0
    assert "everloop_operator_tasks" not in values
