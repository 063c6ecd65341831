"""Every property of every kind: nonsense is refused with what is wanted, the rest does something.

Generic over crds/: a new field fails here until it is in an object of tests/support/field_seeds.py,
and until it does something or has a reason in tests/support/field_exceptions.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from field_changes import Changes, change_later
from field_coverage import NOT, share, sorts, told
from field_exceptions import EXCEPTIONS, reason
from field_schema import spec_schemas
from field_tries import Fields, Stages, differs
from field_worlds import (
    Back,
    experiment_and_back,
    experiment_stages,
    run_and_back,
    run_stages,
    version_and_back,
    version_stages,
)
from field_worlds_serving import (
    deployment_and_back,
    deployment_stages,
    monitor_and_back,
    monitor_stages,
    served_version_stages,
)
from kube import Json, Kube

SCHEMAS = spec_schemas()
ENOUGH = 0.95  # of all properties
AndBack = Callable[[Json, Json], Back]


@dataclass(frozen=True)
class Tried:
    """What was found of one kind."""

    fields: Fields
    changes: Changes  # of objects that are there


def _version_stages(spec: Json) -> Iterator[str]:
    yield from version_stages(spec)
    yield from served_version_stages(spec)


STAGES: dict[str, Stages] = {
    "TrainingRun": run_stages,
    "Experiment": experiment_stages,
    "ModelVersion": _version_stages,
    "Deployment": deployment_stages,
    "Monitor": monitor_stages,
}
AND_BACK: dict[str, AndBack] = {
    "TrainingRun": run_and_back,
    "Experiment": experiment_and_back,
    "ModelVersion": version_and_back,
    "Deployment": deployment_and_back,
    "Monitor": monitor_and_back,
}


@pytest.fixture(scope="module")
def all_fields(kube: Kube) -> Callable[[str], Tried]:
    """Of a kind each of its properties tried, once."""

    @functools.cache
    def tried(kind: str) -> Tried:
        namespace = kube.namespace(f"fields-{kind.lower()}")
        fields = Fields(kube, kind, SCHEMAS[kind], namespace, STAGES[kind])
        for item in fields.all:
            fields.try_one(item)
        return Tried(fields, change_later(kube, fields))

    return tried


@pytest.fixture(scope="module", params=SCHEMAS)
def tried(all_fields: Callable[[str], Tried], request: pytest.FixtureRequest) -> Tried:
    """The properties of one kind."""
    return all_fields(request.param)


def test_nonsense_is_refused_in_clear_words_and_the_rest_is_kept(tried: Tried) -> None:
    """Each refusal names the place and what is wanted; what is taken is stored as written."""
    assert not tried.fields.found.problems, "\n".join(tried.fields.found.problems)


def test_no_field_is_ignored(tried: Tried) -> None:
    """Each other value of each property changes children or status; exceptions have a reason."""
    hidden, kind = tried.fields.found.hidden, tried.fields.kind
    ignored = {path: values for path, values in hidden.items() if not reason(kind, path)}
    assert not ignored, f"taken, and nothing changes: {ignored}"
    needless = [path for path in EXCEPTIONS[kind] if path not in hidden]
    assert not needless, f"exceptions that are none: {needless}"


def test_changing_what_is_immutable_is_refused(tried: Tried) -> None:
    """Each value of an immutable field, with the field's name; other fields may change."""
    assert not tried.changes.problems, "\n".join(tried.changes.problems)


def test_nearly_all_properties_are_exercised(all_fields: Callable[[str], Tried]) -> None:
    """Those that are not have a reason, and are few."""
    found: dict[str, str] = {}
    for kind in SCHEMAS:
        tried = all_fields(kind)
        of_kind = sorts(tried.fields, tried.changes)
        print(told(kind, of_kind))  # noqa: T201 (the coverage, shown by -rP)
        found |= {f"{kind} {path}": sort for path, sort in of_kind.items()}
        without = [path for path, sort in of_kind.items() if sort == NOT and not reason(kind, path)]
        assert not without, f"{kind}: neither exercised nor an exception: {without}"
    print(told("All kinds", found))  # noqa: T201
    left = [name for name, sort in found.items() if sort == NOT]
    print(f"Not exercised: {', '.join(left)}")  # noqa: T201
    assert share(found) >= ENOUGH, left


def test_changing_back_restores_everything(tried: Tried) -> None:
    """What may change: what is lived through without the change, with it, and once it was taken
    back.
    """
    fields = tried.fields
    problems = []
    lived: dict[str, list[str]] = {}  # by seed
    for item in fields.all:
        if item.field in fields.immutable or item.path not in fields.found.other:
            continue
        seed, spec = fields.found.other[item.path]
        stored, _ = fields.base(seed)
        changed, _ = fields.server.create(spec)
        assert changed is not None
        back = AND_BACK[fields.kind](stored, changed)
        if not back.restored:
            problems.append(f"{item.path}: not restored")
        before = lived.get(seed.name) or lived.setdefault(seed.name, list(back.unchanged))
        if item.path in fields.found.shown and not differs(before, back.changed):
            problems.append(f"{item.path}: changes nothing where it is changed later")
    assert not problems, "\n".join(problems)
