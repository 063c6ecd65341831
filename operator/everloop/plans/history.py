"""What a Deployment must not forget: promotions and rejections, kept as ControllerRevisions.

They are keyed by the Deployment's name and not owned by it: deleting a Deployment and applying it
again must neither promote what was rejected nor lose the champion. A decision is written first and
acted upon when it is read back, so that a crash in between changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from everloop import contract
from everloop.api.conditions import timestamp
from everloop.api.deployment import Deployment, RejectedVersion, Verdict
from everloop.manifests.meta import meta
from everloop.manifests.server import Served
from everloop.plans.plan import Child, Mode, OnConflict

Word = Literal["Promotion", "Rejection"]
WORDS: tuple[Word, ...] = ("Promotion", "Rejection")
SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """One decision about one version."""

    word: Word
    number: int  # in order of decision, from 1
    served: Served
    reason: str
    message: str
    time: str
    verdicts: tuple[Verdict, ...] = ()

    @property
    def version(self) -> str:
        return self.served.name


@dataclass(frozen=True)
class History:
    """All decisions of a Deployment, oldest first."""

    records: tuple[Record, ...] = field(default=())

    @property
    def champion(self) -> Record | None:
        """The last promotion."""
        promotions = [record for record in self.records if record.word == "Promotion"]
        return promotions[-1] if promotions else None

    @property
    def rejections(self) -> list[Record]:
        """Rejections that stand, newest first: a person may have promoted a version since."""
        standing: dict[str, Record] = {}
        for record in self.records:
            standing.pop(record.version, None)
            if record.word == "Rejection":
                standing[record.version] = record
        return list(reversed(standing.values()))

    def rejected(self, name: str, digest: str) -> bool:
        """Whether this version, or the same bytes under another name, was rejected."""
        return any(
            name == record.version or digest == record.served.artifact.digest
            for record in self.rejections
        )

    def find(self, version: str) -> Served | None:
        """What is known of a version whose ModelVersion is gone."""
        for record in reversed(self.records):
            if record.version == version:
                return record.served
        return None

    def next(
        self,
        word: Word,
        served: Served,
        *,
        reason: str,
        message: str,
        now: datetime,
        verdicts: Iterable[Verdict] = (),
    ) -> Record:
        """The record of a new decision."""
        number = 1 + max((record.number for record in self.records), default=0)
        return Record(word, number, served, reason, message, timestamp(now), tuple(verdicts))


def record_name(deployment: str, record: Record) -> str:
    """The name of a decision's ControllerRevision: the same decision always gets the same."""
    verb = "promoted" if record.word == "Promotion" else "rejected"
    return contract.child_name(deployment, verb, str(record.number), f"v{record.served.number}")


def build_record(deployment: Deployment, record: Record) -> Child:
    """The ControllerRevision of a decision."""
    name = deployment.metadata.name
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": meta(
            record_name(name, record),
            deployment.metadata.namespace,
            contract.COMPONENT_HISTORY,
            {
                contract.LABEL_DEPLOYMENT: name,
                contract.LABEL_MODEL: deployment.spec.model_name,
                contract.LABEL_MODEL_VERSION: record.version,
            },
        ),
        "revision": record.number,
        "data": {
            "schema": SCHEMA,
            "decision": record.word,
            "version": record.served.to_dict(),
            "reason": record.reason,
            "message": record.message,
            "time": record.time,
            "verdicts": [verdict.to_dict() for verdict in record.verdicts],
        },
    }
    return Child(manifest, Mode.CREATE_ONCE, owned=False, on_conflict=OnConflict.EXISTS)


def read_history(deployment: str, objects: Iterable[Mapping[str, Any]]) -> History:
    """The history in ControllerRevisions as read.

    Other records under our labels are not ours, nor is one under another name: it is a copy.
    """
    records = []
    for item in objects:
        record = _read(item)
        if record is not None and record_name(deployment, record) == item["metadata"]["name"]:
            records.append(record)
    return History(tuple(sorted(records, key=lambda record: (record.number, record.time))))


def _read(item: Mapping[str, Any]) -> Record | None:
    """A record; None for what a status could not tell of: anybody may have made it."""
    data = item.get("data") or {}
    try:
        if data["decision"] not in WORDS:
            return None
        served = Served.from_dict(data["version"])
        told = RejectedVersion(  # which cuts
            model_version=served.name,
            reason=data["reason"],
            message=data["message"],
            time=data["time"],
        )
        datetime.fromisoformat(told.time)
        return Record(
            word=data["decision"],
            number=int(item["revision"]),
            served=served,
            reason=told.reason,
            message=told.message,
            time=told.time,
            verdicts=tuple(Verdict.model_validate(entry) for entry in data["verdicts"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
