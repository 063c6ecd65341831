"""The ModelVersion that a run's report becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from everloop import contract
from everloop.api.json_text import read_object
from everloop.api.modelversion import (
    Evaluation,
    ModelVersionSpec,
    Provenance,
    Resolved,
    Versus,
)
from everloop.api.report import Report
from everloop.api.trainingrun import ChampionRef, GateResult, TrainingRun

Dict = dict[str, Any]

NOT_STATED = "the Evaluate step wrote no reference.parquet"


def version_name(model: str, number: int) -> str:
    return f"{model}-v{number}"


def build_model_version(
    run: Mapping[str, Any],
    number: int,
    report: Report,
    *,
    gates: Sequence[GateResult],
    champion: ChampionRef | None,
    images: Mapping[str, str],
) -> Dict:
    """`<model>-v<number>` of a succeeded report. Not owned by the run, and never deleted with it.

    `run` is the object as read: its spec is copied verbatim, so that what was asked for can be read
    with the version long after the run is gone.
    """
    typed = TrainingRun.model_validate(run)
    if report.artifact is None:
        raise ValueError(f"the report of {report.run} names no artifact")
    spec = ModelVersionSpec(
        model_name=typed.spec.model_name,
        version=number,
        artifact=report.artifact,
        signature=report.signature,
        profile=report.profile,
        provenance=_provenance(typed, report, champion, images),
        evaluation=_evaluation(report, gates, champion),
    ).to_dict()
    spec["provenance"]["runSpec"] = run["spec"]
    metadata: Dict = {
        "name": version_name(typed.spec.model_name, number),
        "namespace": typed.metadata.namespace,
        "labels": {
            contract.MANAGED_BY: contract.MANAGED_BY_VALUE,
            contract.LABEL_MODEL: typed.spec.model_name,
            contract.LABEL_RUN: typed.metadata.name,
        },
    }
    if report.profile is None:
        reason = report.not_monitorable or NOT_STATED
        metadata["annotations"] = {contract.ANNOTATION_NOT_MONITORABLE: reason}
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "ModelVersion",
        "metadata": metadata,
        "spec": spec,
    }


def trigger_of(run: TrainingRun) -> Dict:
    """Why the run existed: what its maker noted, or who can be told from its labels."""
    text = run.metadata.annotations.get(contract.ANNOTATION_TRIGGER)
    if text is not None:
        noted = read_object(text)
        return noted if noted is not None else {"kind": "Person", "note": text[:1024]}
    experiment = run.metadata.labels.get(contract.LABEL_EXPERIMENT)
    if experiment is not None:
        trial = run.metadata.labels.get(contract.LABEL_TRIAL, "")
        return {"kind": "Experiment", "name": experiment, "trial": trial}
    return {"kind": "Person"}


def _provenance(
    run: TrainingRun, report: Report, champion: ChampionRef | None, images: Mapping[str, str]
) -> Provenance:
    resolved = report.resolved.to_dict() if report.resolved else {}
    caused_by_monitor = contract.LABEL_MONITOR in run.metadata.labels
    return Provenance(
        run=run.metadata.name,
        run_uid=run.metadata.uid,
        trigger=trigger_of(run),
        parent=champion.model_version if champion and caused_by_monitor else None,
        resolved=Resolved.model_validate({**resolved, "images": dict(images)}),
    )


def _evaluation(
    report: Report, gates: Sequence[GateResult], champion: ChampionRef | None
) -> Evaluation:
    versus = None
    if champion is not None and report.versus is not None:
        versus = Versus(
            champion=champion, metrics=report.versus.metrics, intervals=report.versus.intervals
        )
    return Evaluation(
        metrics=report.metrics, hold_out=report.hold_out, versus=versus, gates=list(gates)
    )
