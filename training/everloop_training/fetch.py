"""First container of a run: code, data, parameters and the champion onto /workspace.

Whatever was fetched is recorded by content. A failure here ends the run before any user's step, but
for the champion's: then the run goes on, and its comparison is inconclusive.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from everloop import contract
from everloop_training import store
from everloop_training.errors import (
    DATA_CHANGED,
    DATA_MISSING,
    INVALID_CONFIG,
    RunError,
    write_if_possible,
)
from everloop_training.layout import Layout
from everloop_training.newdata import wait_for_new_data
from everloop_training.parquet import rows_and_span
from everloop_training.runconfig import Champion, DataSet, RunConfig, load_run_config
from everloop_training.source import copy_config_map, fetch_git, source_digest
from everloop_training.store import Local
from everloop_training.times import rfc3339

log = logging.getLogger("everloop")
INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Resolution:
    """What an earlier attempt resolved; later attempts use the same."""

    commit: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Resolution:
        """Empty for an empty text. Raises RunError(InvalidConfig)."""
        if not text.strip():
            return cls()
        try:
            record = json.loads(text)
            return cls(record.get("commit"), dict(record.get("data") or {}))
        except (AttributeError, TypeError, ValueError) as error:
            raise RunError(
                INVALID_CONFIG, f"{contract.ENV_RESOLUTION} cannot be read: {error}"
            ) from error


def fetch(layout: Layout, environment: Mapping[str, str] = os.environ) -> None:
    """Do all of it. Raises RunError."""
    started = datetime.now(UTC)
    config = load_run_config(layout.run_config)
    pinned = Resolution.from_json(environment.get(contract.ENV_RESOLUTION, ""))
    os.umask(0o002)  # steps may run as another user of the pod's group
    for folder in (layout.source, layout.data, layout.output, layout.champion, layout.steps):
        folder.mkdir(parents=True, exist_ok=True)
    _install_shim(layout)
    commit = _fetch_source(layout, config, pinned)
    if config.new_data is not None and not pinned.data:
        wait_for_new_data(config.data, config.new_data)
    data = [_fetch_data(layout, item, pinned.data.get(item.name)) for item in config.data]
    write_parameters(layout, config.parameters)
    champion = _fetch_champion(layout, config.champion) if config.champion else None
    resolved = {
        "commit": commit,
        "sourceDigest": source_digest(layout.source),
        "data": data,
        "parameters": dict(config.parameters),
        "seed": config.seed,
    }
    record = {
        "startedAt": rfc3339(started),
        "finishedAt": rfc3339(datetime.now(UTC)),
        "resolved": resolved,
        "champion": champion,
    }
    layout.fetched.write_text(json.dumps(record, indent=1))
    resolution = {"commit": commit, "data": {item["name"]: item["digest"] for item in data}}
    write_if_possible(layout.termination_log, json.dumps(resolution).encode())


def write_parameters(layout: Layout, parameters: Mapping[str, str]) -> None:
    """params.json: numbers as numbers, everything else as text."""
    values = {name: parameter_value(text) for name, text in parameters.items()}
    layout.params.write_text(json.dumps(values, indent=1) + "\n")


def parameter_value(text: str) -> int | float | str:
    """A number if the text is one, in the notation of JSON.

    >>> [parameter_value(text) for text in ("100", "0.1", "1e-3", "true", "1_0", "nan")]
    [100, 0.1, 0.001, 'true', '1_0', 'nan']
    """
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if DECIMAL.fullmatch(text) else text


def _install_shim(layout: Layout) -> None:
    if not layout.runner_shim.is_file():
        raise RunError(
            INVALID_CONFIG,
            f"the image has no shim at {layout.runner_shim}: use Everloop's runtime image",
        )
    layout.shim.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(layout.runner_shim, layout.shim)
    layout.shim.chmod(0o555)


def _fetch_source(layout: Layout, config: RunConfig, pinned: Resolution) -> str | None:
    if config.git is not None:
        commit = fetch_git(config.git, pinned.commit, layout.source)
        log.info("code: %s at %s", config.git.url, commit)
        return commit
    if config.from_config_map:
        copy_config_map(layout.source_config, layout.source)
        log.info("code: %d files", sum(1 for _ in layout.source.iterdir()))
    return None


def _fetch_data(layout: Layout, item: DataSet, resolved: str | None) -> dict[str, Any]:
    """One data set, and its entry of the report."""
    folder = layout.data / item.name
    files = _checked(item, _download(item, layout), resolved)
    rows, time_span = rows_and_span(files)
    digest = store.digest(files)
    folder.mkdir(parents=True, exist_ok=True)
    log.info("data %s: %d files, %s rows, %s", item.name, len(files), rows, digest)
    return {
        "name": item.name,
        "uri": item.uri,
        "digest": digest,
        "files": len(files),
        "rows": rows,
        "timeSpan": time_span,
    }


def _download(item: DataSet, layout: Layout) -> list[Local]:
    try:
        filesystem, remotes = store.list_files(item.uri)
        files = store.download(filesystem, remotes, layout.data / item.name)
    except FileNotFoundError:
        files = []
    except Exception as error:
        # each store's client has exceptions of its own, and all say why this data cannot be read
        raise RunError(
            DATA_MISSING, f"data {item.name}: {item.uri} cannot be read: {error}"
        ) from error
    if not files:
        raise RunError(
            DATA_MISSING,
            f"data {item.name}: there is nothing at {item.uri}; upload it, or correct uri",
        )
    return files


def _checked(item: DataSet, files: list[Local], resolved: str | None) -> list[Local]:
    """The files that the digest is about. Raises RunError(DataChanged), naming both digests."""
    pin = resolved or item.digest
    actual = store.digest(files)
    if pin is None or pin == actual:
        return files
    kept = store.oldest_with_digest(files, pin)
    if kept is None:
        whose = "an earlier attempt read" if resolved else "spec.data pins"
        raise RunError(
            DATA_CHANGED,
            f"data {item.name}: {item.uri} now has digest {actual}, but {whose} {pin}; "
            "restore the files, or start a new TrainingRun with the new digest or without one",
        )
    names = {file.name for file in kept}
    for file in files:
        if file.name not in names:  # stored later than what the digest is about
            file.path.unlink()
    return kept


def _fetch_champion(layout: Layout, champion: Champion) -> dict[str, Any]:
    """The champion's model for the second pass; a failure is recorded and leaves none there."""
    folder = layout.champion / contract.MODEL_SUBDIR
    try:
        filesystem, remotes = store.list_files(champion.uri)
        actual = store.digest(store.download(filesystem, remotes, folder))
        problem = ""
        if actual != champion.digest:
            problem = (
                f"{champion.model_version}: the files at {champion.uri} have digest {actual}, "
                f"but {champion.digest} was registered"
            )
    except Exception as error:
        # whatever the store says: the run is about the new model
        problem = f"{champion.model_version}: {champion.uri} cannot be read: {error}"
    if problem:
        log.warning("champion %s", problem)
        shutil.rmtree(folder, ignore_errors=True)
    return {"modelVersion": champion.model_version, "problem": problem}
