"""Golden cases of Monitor: the rules as Prometheus gets them, and the run a Monitor makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden import cases, check_case
from monitors import FakePrometheus

from everloop.handlers.monitor import KIND


@pytest.mark.parametrize("folder", cases("monitor"), ids=lambda folder: folder.name)
def test_case(folder: Path) -> None:
    check_case(KIND, folder, FakePrometheus())
