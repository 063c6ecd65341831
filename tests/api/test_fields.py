"""Every property of every kind: nonsense is refused with what is wanted, the rest does something.

Generic over crds/: a new field fails here until it is in an object of tests/support/field_seeds.py,
and until it does something or has a reason in tests/support/field_exceptions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from field_exceptions import EXCEPTIONS, reason
from field_objects import make
from field_schema import Property, spec_schemas, written
from field_tries import DryRun, Fields, Stages, differs
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


@pytest.fixture(scope="module", params=SCHEMAS)
def fields(kube: Kube, request: pytest.FixtureRequest) -> Fields:
    """A kind, each of its properties tried."""
    kind = request.param
    namespace = kube.namespace(f"fields-{kind.lower()}")
    tried = Fields(kube, kind, SCHEMAS[kind], namespace, STAGES[kind])
    for item in tried.all:
        tried.try_one(item)
    return tried


def test_nonsense_is_refused_in_clear_words_and_the_rest_is_kept(fields: Fields) -> None:
    """Each refusal names the place and what is wanted; what is taken is stored as written."""
    assert not fields.found.problems, "\n".join(fields.found.problems)


def test_no_field_is_ignored(fields: Fields) -> None:
    """Each other value of each property changes children or status; exceptions have a reason."""
    found, kind = fields.found, fields.kind
    known = {path: reason(kind, path) for path in found.hidden}
    excepted = {path for path, why in known.items() if why}
    paths = {item.path for item in fields.all}
    exercised = {item.path for item in fields.all if _exercised(fields, item)}
    print(  # noqa: T201 (the coverage, shown by -rP)
        f"{kind}: {len(exercised)} of {len(paths)} properties exercised "
        f"({len(exercised) / len(paths):.1%}); {len(found.shown)} show in children or status, "
        f"{len(excepted)} are exceptions with a reason"
    )
    ignored = {path: values for path, values in found.hidden.items() if path not in excepted}
    assert not ignored, f"taken, and nothing changes: {ignored}"
    needless = [
        start for start in EXCEPTIONS[kind] if not any(path.startswith(start) for path in excepted)
    ]
    assert not needless, f"exceptions that are none: {needless}"
    assert len(exercised) >= ENOUGH * len(paths), sorted(paths - exercised)


def _exercised(fields: Fields, item: Property) -> bool:
    """Whether another value was taken or, where there is one value only, others were refused."""
    below = (f"{item.path}.", f"{item.path}[]")
    inside = any(path == item.path or path.startswith(below) for path in fields.found.other)
    return inside or reason(fields.kind, item.path) is not None


def test_changing_what_is_immutable_is_refused(kube: Kube, fields: Fields) -> None:
    """Each property of an immutable field, with the field's name; other fields may change."""
    problems = []
    for name, spec in fields.seeds.items():
        namespace = kube.namespace(f"fields-{fields.kind}-{name}".lower().replace(" ", "-"))
        live = kube.create(make(fields.kind, spec, namespace))
        server = DryRun(kube, fields.kind, namespace)
        for item in fields.all:
            seed, other = fields.found.other.get(item.path, (None, {}))
            if seed is None or seed.name != name:
                continue
            after, refusal = server.replace(other, live)
            wanted = f"{item.field} is immutable; "
            refused = wanted in refusal and "make a new object instead" in refusal
            if item.field in fields.immutable and not refused:
                problems.append(f"{written(seed.place)}: {refusal or 'taken'}")
            if item.field not in fields.immutable and after is None:
                problems.append(f"{written(seed.place)}: {refusal}")
    assert not problems, "\n".join(problems)


def test_changing_back_restores_everything(fields: Fields) -> None:
    """What may change: what is lived through without the change, with it, and once it was taken
    back.
    """
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
