"""What the scenarios reach: each kind's deletion, and each write that the chart lets us make.

So a new kind or a new right to write fails here until a scenario makes it happen.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from faults.catalogue import SCENARIOS, UNREACHED
from faults.deletions import DELETIONS
from faults.proxy import LEASES, VERBS
from faults.trial import Baseline
from faults.upgrade import UPGRADE
from rights import RARE, Right, role_at_home

from everloop.handlers.registry import KINDS

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOT = Path(__file__).parents[2]
Write = tuple[str, str]  # verb, plural.group with /subresource
# In the whole tier and in its sample: all scenarios are run undisturbed in both.
in_both = pytest.mark.parametrize("tier", ["all", pytest.param("some", marks=pytest.mark.sample)])


@in_both
async def test_the_upgrade_is_among_the_scenarios(tier: str) -> None:
    if UPGRADE not in SCENARIOS:
        pytest.skip("no history here to upgrade from: nothing is disturbed during an upgrade")


@in_both
@pytest.mark.timeout(600)
async def test_each_kind_is_deleted(baseline: Baseline, tier: str) -> None:
    """In the middle of its work, and the operator is told of it."""
    resources = {kind.resource.kind: kind.resource for kind in KINDS}
    assert set(DELETIONS) == set(resources), "a kind without a scenario that deletes it"
    for kind, scenario in DELETIONS.items():
        resource = resources[kind]
        told = (await baseline(scenario)).deletions
        assert f"{resource.plural}.{resource.group}" in told, f"{scenario.name} deletes no {kind}"


@in_both
@pytest.mark.timeout(600)
async def test_each_write_is_made(baseline: Baseline, tier: str) -> None:
    """By the undisturbed runs, so that it is killed, and fails, in the others."""
    ends = await asyncio.gather(*map(baseline, SCENARIOS))
    made = frozenset().union(*(end.written for end in ends))
    lacking = sorted(allowed() - made - UNREACHED.keys())
    assert not lacking, f"no scenario makes these writes: {lacking}"
    reached = sorted(made & UNREACHED.keys())
    assert not reached, f"no exceptions any more: {reached}"


@pytest.mark.parametrize("write", UNREACHED, ids=" ".join)
async def test_what_no_scenario_makes_is_tested_elsewhere(write: Write) -> None:
    file, _, test = UNREACHED[write].partition("::")
    assert f"def {test}(" in (ROOT / file).read_text(), UNREACHED[write]
    assert write in allowed(), "the chart does not grant it any more"


def allowed() -> set[Write]:
    """By the chart's rules, but for what may be seen or not.

    The right to finalizers is asked for, and no request is made of it.
    """
    rights = {
        Right(group, resource, verb)
        for rule in role_at_home()["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    writes = {
        (right.verb, _qualified(right))
        for right in rights - RARE.keys()
        if right.verb in VERBS.values() and not right.resource.endswith("/finalizers")
    }
    return {(verb, resource) for verb, resource in writes if resource != LEASES}


def _qualified(right: Right) -> str:
    """As faults.proxy names resources."""
    plural, slash, subresource = right.resource.partition("/")
    return f"{plural}.{right.group}".rstrip(".") + slash + subresource
