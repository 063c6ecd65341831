"""Golden cases of TrainingRun; read them as examples of what the operator makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden import cases, check_case

from everloop.handlers.trainingrun import KIND


@pytest.mark.parametrize("folder", cases("trainingrun"), ids=lambda folder: folder.name)
def test_case(folder: Path) -> None:
    check_case(KIND, folder)
