"""The kinds that are reconciled. A kind is added by a line here."""

from __future__ import annotations

from typing import Any

from everloop.handlers import deployment, experiment, modelversion, monitor, trainingrun
from everloop.handlers.kind import Kind

KINDS: tuple[Kind[Any], ...] = (
    experiment.KIND,
    trainingrun.KIND,
    modelversion.KIND,
    deployment.KIND,
    monitor.KIND,
)
