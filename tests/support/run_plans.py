"""Plans of TrainingRuns, through their own `observe`, and what tests ask of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from golden import FakeOutside, FakeReader, tick
from runs import (
    NOW,
    done,
    make_config,
    make_job,
    make_pod,
    make_run,
    shim_failed,
)

from everloop import contract
from everloop.api.conditions import find
from everloop.handlers.trainingrun import KIND
from everloop.plans.plan import Plan
from everloop.settings import Settings

Dict = dict[str, Any]

EVALUATE = {"name": "evaluate", "role": "Evaluate", "command": ["python", "evaluate.py"]}
TRAIN = {"name": "train", "command": ["python", "train.py"]}
FETCHED = done('{"commit": "abc", "data": {"train": "sha256:1"}}')
FAILED_STEP = shim_failed(1, "KeyError: 'carrier'")


def plan(
    run: Dict,
    *objects: Dict,
    live: Sequence[Dict] = (),
    gone: Sequence[Dict] = (),
    events: dict[str, list[Dict]] | None = None,
    now: str = NOW,
) -> Plan:
    """By the cache, which has not seen what is `live` and still has what is `gone`."""
    reader = FakeReader([run, *objects, *live], events or {})
    settings = Settings(network_policies=False)  # test_network.py is about those
    outside = FakeOutside(settings, reader)
    return tick(KIND, run, [run, *objects, *gone], outside, datetime.fromisoformat(now))


def made(result: Plan) -> list[str]:
    return [
        f"{child.manifest['kind']} {child.manifest['metadata']['name']}"
        for child in result.children
    ]


def ready(result: Plan) -> tuple[str, str]:
    found = find(result.status, contract.READY)
    assert found is not None
    return found["status"], found["reason"]


def run_config(result: Plan) -> Dict:
    return dict(json.loads(result.children[0].manifest["data"][contract.RUN_CONFIG_NAME]))


def failed_run(**spec: Any) -> tuple[Dict, Dict, Dict, Dict]:
    run = make_run(**spec)
    job = make_job(run)
    return run, make_config(run), job, make_pod(job, FETCHED, FAILED_STEP, phase="Failed")
