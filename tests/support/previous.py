"""The release before, for tests that upgrade from it.

That is the last commit whose operator, images or chart were different, or the one that
EVERLOOP_UPGRADE_FROM names.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from built import manifests, pod_templates
from devcluster.images.inputs import INPUTS, image_key

ROOT = Path(__file__).parents[2]
GOLDEN = "tests/golden/deployment"
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


def same_images(source: Path) -> bool:
    """Whether what pods of ours run is made of the same files in that release and in this one."""
    serving = [target for target in INPUTS if target != "operator"]
    try:
        return all(
            image_key(target, "", source) == image_key(target, "", ROOT) for target in serving
        )
    except FileNotFoundError:  # made of a file that the release before did not have
        return False


def same_templates(source: Path) -> bool:
    """Whether the golden files of both releases have the same pods of servers and routers.

    Of the cases whose input is the same; without one of these nothing can be said.
    """
    cases = [file.parent.relative_to(ROOT) for file in ROOT.glob(f"{GOLDEN}/*/input.yaml")]
    alike = [case for case in cases if _input(source / case) == _input(ROOT / case)]
    return bool(alike) and all(_pods(source / case) == _pods(ROOT / case) for case in alike)


def _input(case: Path) -> list[str]:
    files = (case / "input.yaml", case / "outside.yaml")
    return [file.read_text() for file in files if file.exists()]


def _pods(case: Path) -> list[Any]:
    return list(pod_templates(manifests(case / "children.yaml")))


def _ref() -> str:
    named = os.environ.get("EVERLOOP_UPGRADE_FROM")
    return named or _git("log", "-1", "--format=%H^", "--", *RELEASED).stdout.decode().strip()


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=False, capture_output=True)
