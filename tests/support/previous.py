"""The release before, for tests that upgrade from it.

That is the last commit whose operator, images or chart were different, or the one that
EVERLOOP_UPGRADE_FROM names.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RELEASED = ("operator", "training", "model_server", "charts", "requirements", "Dockerfile")


def is_known() -> bool:
    """Whether there is a history to find it in."""
    return _git("cat-file", "-e", f"{_ref()}:operator").returncode == 0


def unpack(folder: Path, *paths: str) -> Path:
    """Its source, or only `paths` of it, in `folder`. Skips the test where there is no history."""
    found = _git("archive", _ref(), *paths)
    if found.returncode:
        pytest.skip(f"no history here to upgrade from: {found.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", folder], input=found.stdout, check=True)
    return folder


def _ref() -> str:
    named = os.environ.get("EVERLOOP_UPGRADE_FROM")
    return named or _git("log", "-1", "--format=%H^", "--", *RELEASED).stdout.decode().strip()


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=False, capture_output=True)
