"""Last container of a run: checks what the steps made, uploads it, and reports.

A failure ends the attempt with a reason; nothing is reported then, since the operator writes the
report of a failed run itself, after the last attempt.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from everloop import contract
from everloop_training import store
from everloop_training.errors import (
    INVALID_CONFIG,
    MODEL_NOT_LOADABLE,
    NO_MODEL,
    UPLOAD_FAILED,
    RunError,
    write_if_possible,
)
from everloop_training.evaluation import HoldOut, number, read_hold_out, read_metrics, versus
from everloop_training.layout import Layout
from everloop_training.parquet import latest_before
from everloop_training.reference import Reference, read_reference
from everloop_training.report import deliver
from everloop_training.runconfig import RunConfig, load_run_config
from everloop_training.times import parse_time, rfc3339

log = logging.getLogger("everloop")
UPLOAD_TRIES: Final = 3
LINES_KEPT: Final = 20


def package(layout: Layout, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Do all of it; the report as delivered. Raises RunError."""
    config = load_run_config(layout.run_config)
    url = environment.get(contract.ENV_REPORT_URL)
    if not url:
        raise RunError(INVALID_CONFIG, f"{contract.ENV_REPORT_URL} must be set")
    report = build_report(layout, config, int(environment.get(contract.ENV_ATTEMPT) or 1))
    body = json.dumps(report, separators=(",", ":")).encode()
    deliver(layout, url, body)
    kept = {
        "reason": "Reported",
        "artifact": report["artifact"]["digest"],
        "report": f"sha256:{hashlib.sha256(body).hexdigest()}",
    }
    write_if_possible(layout.termination_log, json.dumps(kept).encode())
    return report


def build_report(layout: Layout, config: RunConfig, attempt: int) -> dict[str, Any]:
    """Check, profile and upload; what is to be told. Raises RunError."""
    fetched = _fetched(layout)
    model = _model_folder(layout)
    metrics = read_metrics(layout.output / contract.METRICS_NAME, config.evaluate_step)
    hold_out = read_hold_out(layout.output / contract.PREDICTIONS_NAME)
    reference = score_reference(layout, model, config.output_format)
    artifact, profile = _upload(model, config, reference)
    steps = step_records(layout)
    champion = fetched.get("champion") or {}
    compared = versus(
        layout,
        config,
        candidate_metrics=metrics,
        candidate=hold_out,
        steps={record["name"]: record for record in steps},
        champion_problem=champion.get("problem") or "",
    )
    resolved = {
        **fetched["resolved"],
        "trainingCutoff": training_cutoff(layout, hold_out),
        "runner": config.runner,
    }
    return {
        "schema": contract.REPORT_SCHEMA,
        "namespace": config.namespace,
        "run": config.run,
        "uid": config.uid,
        "attempt": attempt,
        "outcome": "Succeeded",
        "failure": None,
        "startedAt": fetched["startedAt"],
        "finishedAt": rfc3339(datetime.now(UTC)),
        "steps": steps,
        "resolved": resolved,
        "artifact": artifact,
        "signature": reference.signature,
        "profile": profile,
        "notMonitorable": reference.not_monitorable,
        "metrics": {name: number(value) for name, value in metrics.items()},
        "holdOut": hold_out.to_dict() if hold_out else None,
        "versus": compared,
    }


def score_reference(layout: Layout, model: Path, format_: str) -> Reference:
    """Load the model as the model server would, score the reference, build the profile.

    It is a process of its own: the runner never unpickles users' bytes, and what is found out is
    what the server will do. Raises RunError when the model cannot be served.
    """
    path = layout.output / contract.REFERENCE_NAME
    with tempfile.TemporaryDirectory(prefix="score-") as temporary:
        scores, described = Path(temporary) / "scores.parquet", Path(temporary) / "signature.json"
        command = [sys.executable, "-P", "-m", "everloop_server.score", "--model", str(model)]
        command += ["--format", format_]
        if path.is_file():
            command += ["--input", str(path), "--output", str(scores)]
            command += ["--signature-out", str(described)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise _not_servable(done.returncode, done.stderr)
        return read_reference(path, scores, described)


def training_cutoff(layout: Layout, hold_out: HoldOut | None) -> str | None:
    """The latest time in the data that is before the hold-out; None without a time column."""
    limit = None
    if hold_out is not None and hold_out.times is not None:
        limit = hold_out.times.min().to_pydatetime()
    latest = latest_before(sorted(layout.data.rglob("*.parquet")), limit)
    return rfc3339(latest) if latest else None


def step_records(layout: Layout) -> list[dict[str, Any]]:
    """What the shim recorded, in the order the steps began."""
    records = []
    for path in layout.steps.glob("*.json"):
        try:
            record = json.loads(path.read_text())
        except ValueError:
            log.warning("%s is not readable, left out", path)
            continue
        record["lastLines"] = (record.get("lastLines") or [])[-LINES_KEPT:]
        records.append(record)
    return sorted(records, key=_began)


def _began(record: Mapping[str, Any]) -> tuple[float, str]:
    started = record.get("startedAt")
    return (parse_time(started).timestamp() if started else 0.0, str(record.get("name")))


def _fetched(layout: Layout) -> dict[str, Any]:
    try:
        return dict(json.loads(layout.fetched.read_text()))
    except (OSError, ValueError) as error:
        raise RunError(
            INVALID_CONFIG, f"{layout.fetched} cannot be read: a step changed it? {error}"
        ) from error


def _model_folder(layout: Layout) -> Path:
    folder = layout.output / contract.MODEL_SUBDIR
    if folder.is_dir() and any(path.is_file() for path in folder.rglob("*")):
        return folder
    found = sorted(
        path.relative_to(layout.output).as_posix()
        for path in layout.output.rglob("*")
        if path.is_file()
    )
    raise RunError(
        NO_MODEL,
        f"no step wrote a model: expected files in ${contract.ENV_OUTPUT_DIR}/"
        f"{contract.MODEL_SUBDIR}/ (for sklearn {contract.MODEL_SUBDIR}/model.joblib); found: "
        + (", ".join(found[:8]) or "nothing"),
    )


def _not_servable(code: int, stderr: str) -> RunError:
    """The scoring process says why in its last line, as JSON; a crash says it in plain text."""
    lines = stderr.strip().splitlines()
    try:
        said = json.loads(lines[-1])
        return RunError(said["reason"], said["message"])
    except (IndexError, KeyError, TypeError, ValueError):
        text = "\n".join(lines[-8:]) or "no output"
        return RunError(
            MODEL_NOT_LOADABLE, f"loading the model ended with exit code {code}: {text}"
        )


def _upload(
    model: Path, config: RunConfig, reference: Reference
) -> tuple[dict[str, Any], dict[str, str] | None]:
    """Artifact and profile in the store, as the report names them."""
    try:
        files = store.hash_folder(model)
    except ValueError as error:
        raise RunError(NO_MODEL, f"output/model: {error}; copy the file itself") from error
    digest = store.digest(files)
    folder = f"{config.output_uri}/{digest.replace(':', '-')}"
    artifact = {
        "uri": f"{folder}/{contract.MODEL_SUBDIR}",
        "digest": digest,
        "format": config.output_format,
        "sizeBytes": sum(file.size for file in files),
    }
    profile = None
    content = b""
    if reference.profile is not None:
        content = json.dumps(reference.profile, separators=(",", ":")).encode()
        sha256 = hashlib.sha256(content).hexdigest()
        profile = {"uri": f"{folder}/profile-{sha256[:12]}.json", "digest": f"sha256:{sha256}"}
    for left in reversed(range(UPLOAD_TRIES)):
        try:
            store.upload(model, str(artifact["uri"]))
            if profile is not None:
                store.write_file(profile["uri"], content)
            break
        except Exception as error:
            # each store's client has exceptions of its own
            if left == 0:
                raise RunError(
                    UPLOAD_FAILED, f"the model cannot be written to {config.output_uri}: {error}"
                ) from error
            log.warning("upload failed, trying again: %s", error)
    log.info("artifact %s at %s", digest, artifact["uri"])
    return artifact, profile
