"""run.json: what the operator asks of this run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from everloop_training.errors import INVALID_CONFIG, RunError
from everloop_training.times import parse_time

SCHEMA = 1
EVALUATE = "Evaluate"


@dataclass(frozen=True)
class DataSet:
    name: str
    uri: str
    digest: str | None = None


@dataclass(frozen=True)
class Git:
    url: str
    revision: str = "HEAD"
    path: str = ""


@dataclass(frozen=True)
class NewData:
    min_rows: int
    arrived_after: datetime


@dataclass(frozen=True)
class Champion:
    model_version: str
    digest: str
    uri: str
    format: str


@dataclass(frozen=True)
class VersusMetric:
    metric: str
    maximize: bool


@dataclass(frozen=True)
class RunConfig:
    """One run, typed; the order of `steps` is the order they ran in."""

    namespace: str
    run: str
    uid: str
    model_name: str
    git: Git | None
    from_config_map: bool
    data: tuple[DataSet, ...]
    new_data: NewData | None
    parameters: Mapping[str, str]
    seed: int
    steps: tuple[tuple[str, str | None], ...]  # name, role
    output_uri: str
    output_format: str
    champion: Champion | None
    versus: tuple[VersusMetric, ...]
    runner: str

    @property
    def evaluate_step(self) -> str | None:
        """The step that scores both models."""
        return next((name for name, role in self.steps if role == EVALUATE), None)


def load_run_config(path: Path) -> RunConfig:
    """Read it. Raises RunError(InvalidConfig): the operator wrote it, so their versions differ."""
    try:
        return _parse(json.loads(path.read_text()))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            INVALID_CONFIG,
            f"{path} cannot be read ({type(error).__name__}: {error}): are operator and runtime "
            "image of the same version?",
        ) from error


def _parse(data: Mapping[str, Any]) -> RunConfig:
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']}, this runner reads {SCHEMA}")
    source = data.get("source") or {}
    git = source.get("git")
    new_data = data.get("newData")
    champion = data.get("champion")
    return RunConfig(
        namespace=data["namespace"],
        run=data["run"],
        uid=data["uid"],
        model_name=data["modelName"],
        git=Git(git["url"], git.get("revision") or "HEAD", git.get("path") or "") if git else None,
        from_config_map=bool(source.get("configMap")),
        data=tuple(DataSet(item["name"], item["uri"], item.get("digest")) for item in data["data"]),
        new_data=NewData(int(new_data["minRows"]), parse_time(new_data["arrivedAfter"]))
        if new_data
        else None,
        parameters={name: str(value) for name, value in (data.get("parameters") or {}).items()},
        seed=int(data.get("seed") or 0),
        steps=tuple((step["name"], step.get("role")) for step in data["steps"]),
        output_uri=data["output"]["uri"].rstrip("/"),
        output_format=data["output"].get("format") or "sklearn",
        champion=Champion(
            champion["modelVersion"], champion["digest"], champion["uri"], champion["format"]
        )
        if champion
        else None,
        versus=tuple(
            VersusMetric(item["metric"], item.get("direction") != "Minimize")
            for item in data.get("versus") or []
        ),
        runner=data.get("runner") or "",
    )
