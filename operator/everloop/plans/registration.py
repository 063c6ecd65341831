"""From a run's report to its ModelVersion, for runs by themselves and for the best of a search.

It may stop anywhere: a version whose provenance names this run's uid is the run's, whether status
knows of it or not. One that status knows and that is gone was deleted by somebody: the report is
annotated with its name, so that it stays deleted when the status is lost, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everloop import contract
from everloop.api.json_text import read_object
from everloop.api.report import Report, from_config_map
from everloop.api.trainingrun import GateResult, TrainingRun
from everloop.errors import InvalidSpec
from everloop.manifests.trainingrun import IMAGES_KEY
from everloop.manifests.trainingrun_version import build_model_version
from everloop.plans.gates import Champion, champion_of, judge
from everloop.plans.plan import Child, Mode, OnConflict, Patch

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Versions:
    """What is known of the ModelVersion of a report that is not annotated.

    `made` is it, as read; `known` is its name by some status, whether it still is there or not.
    `taken` are the names of all versions of the namespace, deleted ones included.
    """

    made: Object | None = None
    known: str | None = None
    taken: Sequence[str] = ()


@dataclass(frozen=True)
class Registration:
    """What to do next for a report to be registered. `version` is set once it is."""

    children: tuple[Child, ...] = ()
    patches: tuple[Patch, ...] = ()
    version: str | None = None


def registration(
    run: Object, report: Object, run_config: Object | None, versions: Versions
) -> Registration:
    """Register the succeeded run's model under the next number of its family.

    All objects as read: the TrainingRun, and its ConfigMaps `<run>-report` and `<run>-config`.
    Gates are judged again from the report; whether a failing gate or another trial's better value
    forbids it is the caller's.
    """
    typed = TrainingRun.model_validate(run)
    registered = registered_version(report)
    if registered:
        return Registration(version=registered)
    if versions.made is not None:
        return Registration(version=versions.made["metadata"]["name"])
    if versions.known:
        return Registration(patches=(_annotate(report, versions.known),), version=versions.known)
    parsed = from_config_map(report)
    if parsed is None or not parsed.succeeded:
        return Registration()
    results, champion = judged(typed, parsed, run_config)
    number = next_number(typed.spec.model_name, versions.taken)
    manifest = build_model_version(
        run, number, parsed, gates=results, champion=champion.ref, images=images_of(report)
    )
    child = Child(manifest, Mode.CREATE_ONCE, owned=False, on_conflict=OnConflict.REPLAN)
    return Registration(children=(child,))


def judged(
    run: TrainingRun, report: Report, run_config: Object | None
) -> tuple[list[GateResult], Champion]:
    """The results of the run's gates, and the champion they compare with."""
    champion = champion_of(parse_run_config(run_config))
    return judge(run.spec.gates, report, champion), champion


def next_number(model: str, taken: Iterable[str]) -> int:
    """One more than the highest number that the model has in these names.

    Names that only reports or runs know count, too: a deleted version's must not come back with
    other bytes.
    """
    pattern = re.compile(re.escape(model) + r"-v([1-9][0-9]{0,4})")  # as ModelVersions may be
    matches = (pattern.fullmatch(name) for name in taken)
    return 1 + max((int(match[1]) for match in matches if match), default=0)


def registered_version(report: Object | None) -> str | None:
    """The ModelVersion that was made from this report, by the annotation.

    It comes once the version is deleted; reports that are older bear it from the beginning.
    """
    metadata = (report or {}).get("metadata", {})
    value = (metadata.get("annotations") or {}).get(contract.ANNOTATION_REGISTERED)
    return str(value) if value else None


def images_of(report: Object | None) -> dict[str, str]:
    """Step → image by digest, as noted with the report; empty if the pod was gone by then."""
    text = ((report or {}).get("data") or {}).get(IMAGES_KEY) or ""
    return {step: str(image) for step, image in (read_object(text) or {}).items()}


def parse_run_config(run_config: Object | None) -> dict[str, Any]:
    """run.json of `<run>-config`; empty while there is none.

    Raises InvalidSpec for what we cannot have written: what to compare with is in it.
    """
    text = ((run_config or {}).get("data") or {}).get(contract.RUN_CONFIG_NAME)
    found = read_object(text) if text else {}
    if found is None:
        name = (run_config or {})["metadata"]["name"]
        raise InvalidSpec(
            f"ConfigMap {name}: {contract.RUN_CONFIG_NAME} is no JSON object, so it is not what "
            "Everloop wrote: delete the run and make it again"
        )
    return found


def _annotate(report: Object, version: str) -> Patch:
    metadata = report["metadata"]
    return Patch(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "annotations": {contract.ANNOTATION_REGISTERED: version},
            },
        }
    )
