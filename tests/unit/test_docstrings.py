"""Worked examples in docstrings, wherever there are any, say what happens."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# folder of a package → the folder from which it is imported
PACKAGES = {
    "operator/everloop": "operator",
    "training/everloop_training": "training",
    "bench": ".",
    "devcluster": ".",
}


def modules() -> list[str]:
    return [
        ".".join(path.relative_to(ROOT / start).with_suffix("").parts)
        for package, start in PACKAGES.items()
        for path in sorted((ROOT / package).rglob("*.py"))
        if ">>> " in path.read_text()
    ]


@pytest.mark.parametrize("module", modules())
def test_worked_examples(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed
