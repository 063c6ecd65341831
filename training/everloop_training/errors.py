"""Failures of a run that its user can act on: a reason for the condition, a message for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

MESSAGE_BYTES: Final = 1150  # of a termination message; each of 8 containers has 1.5 KiB

SOURCE_UNAVAILABLE: Final = "SourceUnavailable"  # code could not be fetched
DATA_MISSING: Final = "DataMissing"  # nothing at a data set's uri, or no access to it
DATA_CHANGED: Final = "DataChanged"  # not the bytes that a digest pins
INVALID_CONFIG: Final = "InvalidConfig"  # run.json or a variable cannot be read
NO_MODEL: Final = "NoModel"  # no step wrote output/model/
MODEL_NOT_LOADABLE: Final = "ModelNotLoadable"  # the model server could not serve it
BAD_METRICS: Final = "BadMetrics"  # metrics.json is missing or is not names and numbers
BAD_OUTPUT: Final = "BadOutput"  # predictions.parquet or reference.parquet cannot be read
UPLOAD_FAILED: Final = "UploadFailed"  # the store refused the artifact
REPORT_REJECTED: Final = "ReportRejected"  # the operator will never take this report


class RunError(Exception):
    """The run cannot go on."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def write_termination(path: Path, error: RunError, exit_code: int) -> None:
    """Tell the operator, in the shim's form; the text is cut so that the JSON stays whole."""
    text = str(error)
    while True:
        record = {"reason": error.reason, "exitCode": exit_code, "lastLines": text}
        encoded = json.dumps(record).encode()
        if len(encoded) <= MESSAGE_BYTES or not text:
            break
        text = text[: len(text) - max(1, (len(encoded) - MESSAGE_BYTES) // 6)]
    write_if_possible(path, encoded)


def write_if_possible(path: Path, content: bytes) -> None:
    """A termination log exists in pods only; elsewhere the log line is all there is."""
    if path.parent.is_dir():
        path.write_bytes(content)
