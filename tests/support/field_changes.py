"""Changes each property of objects that are there: what is immutable says so, others change."""

from __future__ import annotations

from dataclasses import dataclass, field

from field_objects import make
from field_schema import written
from field_server import DryRun
from field_tries import Fields
from kube import Kube


@dataclass
class Changes:
    """What was seen, by path."""

    kept: set[str] = field(default_factory=set)  # each other value is refused as immutable
    problems: list[str] = field(default_factory=list)


def change_later(kube: Kube, fields: Fields) -> Changes:
    """Each value that a new object may have is written into one that is there."""
    found = Changes()
    for name, spec in fields.seeds.items():
        namespace = kube.namespace(f"fields-{fields.kind}-{name}".lower().replace(" ", "-"))
        live = kube.create(make(fields.kind, spec, namespace))
        server = DryRun(kube, fields.kind, namespace)
        for item in fields.all:
            immutable = item.field in fields.immutable
            wanted = f"{item.field} is immutable; "
            taken = [one for one in fields.found.taken.get(item.path, ()) if one[0].name == name]
            bad = []
            for seed, other in taken:
                after, refusal = server.replace(other, live)
                refused = wanted in refusal and "make a new object instead" in refusal
                if (not refused) if immutable else (after is None):
                    bad.append(f"{written(seed.place)}: {refusal or 'taken'}")
            found.problems += bad
            if immutable and taken and not bad:
                found.kept.add(item.path)
    return found
