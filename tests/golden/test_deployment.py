"""Golden cases of Deployment: servers, router and history as the API server gets them.

Beside `input.yaml` a case may have `outside.yaml`: what routers and Prometheus answer.

    routers: {10.1.0.5: {weights: {flights-v1: 100}, healthy: [flights-v1]}}
    answers: [{version: flights-v2, class: "5", count: 60}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from golden import cases, check_case

from everloop.handlers.deployment import KIND
from everloop.manifests.router_config import HEALTH_SERIES
from everloop.manifests.router_routes import WEIGHTS_PATH, weights_json
from everloop.prometheus.client import Sample


@dataclass(frozen=True)
class Routers:
    """Router pods that answer the operator, by address."""

    answers: Mapping[str, Mapping[str, Any]]

    async def get_text(self, url: str, timeout_seconds: float) -> str:
        parts = urlsplit(url)
        answer = self.answers.get(str(parts.hostname))
        if answer is None:
            raise OSError(f"{url}: connection refused")
        if parts.path == WEIGHTS_PATH:
            return weights_json(answer["weights"])
        return "\n".join(
            f'{HEALTH_SERIES}{{envoy_cluster_name="{name}"}} 1' for name in answer["healthy"]
        )


@dataclass(frozen=True)
class Prometheus:
    """Answers every query with what was counted."""

    counted: Sequence[Mapping[str, Any]]

    async def query(self, promql: str, at: datetime | None = None) -> list[Sample]:
        assert 'deployment="flights"' in promql
        assert at is not None
        return [
            Sample(
                {
                    "envoy_cluster_name": entry["version"],
                    "envoy_response_code_class": entry["class"],
                },
                float(entry["count"]),
                0.0,
            )
            for entry in self.counted
        ]


@pytest.mark.parametrize("folder", cases("deployment"), ids=lambda folder: folder.name)
def test_case(folder: Path) -> None:
    file = folder / "outside.yaml"
    outside = yaml.safe_load(file.read_text()) if file.exists() else {}
    routers = Routers(outside.get("routers", {}))
    prometheus = Prometheus(outside["answers"]) if "answers" in outside else None
    check_case(KIND, folder, prometheus, routers)
