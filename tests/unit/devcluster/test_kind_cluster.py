"""kind's cluster, as far as it can be said without a Docker engine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from devcluster import kind_cluster


def test_the_registry_keeps_its_port_when_it_joins_another_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Docker publishes anew then: without a port of ours `up` ended, looking at the one before."""
    commands: list[Sequence[object]] = []

    def run(command: Sequence[object], **_: object) -> str:
        commands.append(command)
        return ""

    monkeypatch.setattr(kind_cluster, "run", run)
    port = kind_cluster._start_registry("a")
    (started,) = commands
    assert started[started.index("--publish") + 1] == f"127.0.0.1:{port}:5000"
