"""One API server for all trials, operators that start at once, and how scenarios end by themselves.

All tests share one event loop, and so the processes that belong to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from devcluster.control_plane_only import ControlPlane
from faults.admin import Admin
from faults.many import Ahead, asked
from faults.operators import Zygote
from faults.plane import ROOT, administrator, control_plane
from faults.trial import Baseline, by_itself
from faults.world import Ground
from previous import is_known, unpack


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """The API server, with fake nodes."""
    with control_plane() as plane:
        yield plane


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ground(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ground]:
    """What all trials share."""
    admin = Admin(administrator(plane, tmp_path_factory.mktemp("administrator")))
    await admin.start()
    before = tmp_path_factory.mktemp("before")
    if is_known():
        unpack(before, "operator")
    zygotes = Zygote(ROOT / "operator"), Zygote(before / "operator", limited=False)
    folder: Path = tmp_path_factory.mktemp("trials")
    try:
        await zygotes[0].start()
        if is_known():
            await zygotes[1].start()
        yield Ground(admin, *zygotes, folder)
    finally:
        for zygote in zygotes:
            await zygote.stop()
        await admin.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def baseline(ground: Ground, request: pytest.FixtureRequest) -> Baseline:
    """How a scenario ends by itself, found out once."""
    return Ahead(asked(request, "scenario"), partial(by_itself, ground)).get
