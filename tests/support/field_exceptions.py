"""Fields that may be changed and change neither children nor status, each with its reason."""

from __future__ import annotations

ONE_VALUE = "it has one value so far; others are refused"
RECORD = "a record for audits: made once with the version, kept as written, and immutable"
FOR_PEOPLE = "for people, who read it with `kubectl get mlmv -o yaml`"

# Kind → path, or the beginning of paths, → reason.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "TrainingRun": {
        "output.format": ONE_VALUE,
        "gates[].versus": ONE_VALUE,
    },
    "Experiment": {
        "template.output.format": ONE_VALUE,
        "template.gates[].versus": ONE_VALUE,
    },
    "ModelVersion": {
        "artifact.format": ONE_VALUE,
        "provenance.trigger": RECORD,
        "provenance.resolved.commit": RECORD,
        "provenance.resolved.sourceDigest": RECORD,
        "provenance.resolved.images": RECORD,
        "provenance.resolved.data[].uri": RECORD,
        "provenance.resolved.data[].files": RECORD,
        "provenance.resolved.data[].timeSpan": RECORD,
        "provenance.resolved.parameters": RECORD,
        "provenance.resolved.seed": RECORD,
        "provenance.resolved.runner": RECORD,
        "evaluation.metrics": RECORD,
        "evaluation.holdOut": RECORD,
        "evaluation.versus": RECORD,
        "evaluation.gates[].value": RECORD,
        "evaluation.gates[].bound": RECORD,
        "evaluation.gates[].low": RECORD,
        "evaluation.gates[].high": RECORD,
        "evaluation.gates[].reason": RECORD,
        "card": FOR_PEOPLE,
    },
    "Deployment": {
        "rollout.steps[].analysis": "it has no settings of its own; rollout.analysis has them",
        "rollout.analysis.metrics[].name": ONE_VALUE,
        "rollout.analysis.metrics[].versus": ONE_VALUE,
    },
    "Monitor": {
        "inputs.method": ONE_VALUE,
        "outputs.method": ONE_VALUE,
        "retrain.overrides.gates[].versus": ONE_VALUE,
    },
}


def reason(kind: str, path: str) -> str | None:
    """Why the field may change nothing; None if it must."""
    for start, why in EXCEPTIONS[kind].items():
        if path == start or path.startswith((f"{start}.", f"{start}[]")):
            return why
    return None
