"""What the installed operator asked for is what the chart grants, by the audit log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from devcluster import audit
from devcluster.paths import read_info
from rights import judge, usage, whole


def test_what_the_tier_used_is_what_was_recorded(
    cluster_name: str, request: pytest.FixtureRequest
) -> None:
    """Runs last (see conftest.py)."""
    info = read_info(cluster_name) or {}
    if "auditLog" not in info:
        pytest.skip("kind's API server has no audit log; the local cluster's has one")
    logs = audit.files(Path(info["auditLog"]))
    update = bool(os.environ.get("UPDATE_RIGHTS"))
    complete = whole(request.session, Path(__file__).parent)
    judge("e2e", usage(logs, namespace="everloop-system"), update=update, complete=complete)
