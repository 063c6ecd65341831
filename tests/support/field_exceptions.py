"""Fields that may be changed and change neither children nor status, each with its reason.

A path excuses itself only and nothing below it: what is added there later has to say why, too.
"""

from __future__ import annotations

# Nothing else is ever taken, and the test sees that every other value is refused.
ONE_VALUE = "it has one value so far; others are refused"
# Of a made object no other value is taken, and the test sees that each is refused as immutable.
RECORD = "a record for audits: made once with the version, kept as written, and immutable"
TOLD = "a record that only people read, with `kubectl get` and `kubectl everloop status`; immutable"
# These do nothing but to be read.
FOR_PEOPLE = "for people, who read it with `kubectl get mlmv -o yaml`"

SPAN = ("", ".start", ".end")
RECORDED = (
    "provenance.trigger",
    "provenance.resolved.commit",
    "provenance.resolved.sourceDigest",
    "provenance.resolved.images",
    "provenance.resolved.images.*",
    "provenance.resolved.data[].uri",
    "provenance.resolved.data[].files",
    *(f"provenance.resolved.data[].timeSpan{end}" for end in SPAN),
    "provenance.resolved.parameters",
    "provenance.resolved.parameters.*",
    "provenance.resolved.seed",
    "provenance.resolved.runner",
    "evaluation.metrics",
    "evaluation.metrics.*",
    "evaluation.holdOut",
    "evaluation.holdOut.digest",
    "evaluation.holdOut.rows",
    *(f"evaluation.holdOut.timeSpan{end}" for end in SPAN),
    "evaluation.versus",
    "evaluation.versus.champion.deployment",
    "evaluation.versus.champion.modelVersion",
    "evaluation.versus.champion.digest",
    "evaluation.versus.metrics",
    "evaluation.versus.metrics.*",
    "evaluation.versus.intervals",
    "evaluation.versus.intervals.*",
    "evaluation.versus.intervals.*.difference",
    "evaluation.versus.intervals.*.low",
    "evaluation.versus.intervals.*.high",
    "evaluation.gates[].value",
    "evaluation.gates[].bound",
    "evaluation.gates[].low",
    "evaluation.gates[].high",
    "evaluation.gates[].reason",
)
DRAWN = (
    "provenance.run",
    "provenance.parent",
    "provenance.resolved.data",
    "provenance.resolved.data[].name",
    "provenance.resolved.data[].digest",
    "provenance.resolved.data[].rows",
)

# Kind → path → reason.
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
        **dict.fromkeys(RECORDED, RECORD),
        **dict.fromkeys(DRAWN, TOLD),
        "card": FOR_PEOPLE,
        "card.intendedUse": FOR_PEOPLE,
        "card.limitations": FOR_PEOPLE,
        "card.owner": FOR_PEOPLE,
        "card.licence": FOR_PEOPLE,
    },
    "Deployment": {
        "rollout.steps[].analysis": ONE_VALUE,  # rollout.analysis has its settings
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
    return EXCEPTIONS[kind].get(path)
