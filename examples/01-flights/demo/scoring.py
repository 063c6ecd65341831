"""How good a version is on flights that it has not seen, asked of its own Service."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date

import aiohttp
from sklearn.metrics import roc_auc_score

from demo.cluster import Cluster, UnexpectedError
from demo.data import Flights, request

ROWS = 500  # per request


@dataclass(frozen=True)
class Service:
    """A Service that answers for one version of a model."""

    namespace: str
    name: str
    model: str


async def auc(
    cluster: Cluster, service: Service, flights: Flights, days: tuple[date, date]
) -> float:
    """Area under the ROC curve over all flights of these days, first and last included."""
    rows, labels = flights.between(*days)
    async with cluster.forward(service.namespace, f"svc/{service.name}", 8080) as address:
        url = f"http://{address}/v2/models/{service.model}/infer"
        scores: list[float] = []
        for start in range(0, len(rows), ROWS):
            scores += await _score(cluster.session, url, rows[start : start + ROWS])
    return float(await asyncio.to_thread(roc_auc_score, labels, scores))


async def _score(
    session: aiohttp.ClientSession, url: str, rows: list[dict[str, object]]
) -> list[float]:
    """The probability of being late, per row."""
    async with session.post(url, json=request(rows, "compare")) as response:
        if response.status != 200:
            text = (await response.text())[:300]
            raise UnexpectedError(f"{url} answered {response.status}: {text}")
        answer = await response.json()
    proba = next(one for one in answer["outputs"] if one["name"] == "predict_proba")
    if proba["shape"] != [len(rows), 2]:
        raise UnexpectedError(f"predict_proba has shape {proba['shape']}, not [{len(rows)}, 2]")
    return [float(value) for value in proba["data"][1::2]]
