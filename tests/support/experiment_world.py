"""Experiments, ticked: plans are applied to a list of objects that stands for the cluster."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from golden import MADE_BY_US, FakeOutside, FakeReader, FakeView

from everloop import contract
from everloop.handlers.experiment import KIND
from everloop.plans.plan import Plan
from everloop.settings import Settings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64


class World:
    """A namespace with one Experiment, and hands that let its trials end."""

    def __init__(self, **spec: Any) -> None:
        self.now = NOW
        template = {
            "modelName": "m",
            "parameters": {"fixed": "1"},
            "steps": [{"name": "train", "command": ["train"]}],
            "output": {"uri": "s3://models/m"},
        }
        self.experiment: dict[str, Any] = {
            "apiVersion": contract.API_VERSION,
            "kind": "Experiment",
            "metadata": {"name": "search", "namespace": "ml", "uid": "u-search", "generation": 1},
            "spec": {
                "modelName": "m",
                "objective": {"metric": "auc"},
                "parameters": [{"name": "x", "uniform": {"min": "0", "max": "1"}}],
                "algorithm": {"name": "Random", "seed": 1},
                "trials": 4,
                "parallelTrials": 2,
                "onComplete": {"register": "Best"},
                "template": template,
                **spec,
            },
            "status": {"observedGeneration": -1},
        }
        self.objects: list[dict[str, Any]] = [self.experiment]
        self.unseen: set[str] = set()  # names of what the cluster has and the cache not yet

    def tick(self) -> Plan:
        """One pass of the engine."""
        self.now += timedelta(seconds=1)
        view = FakeView(
            [item for item in self.objects if item["metadata"]["name"] not in self.unseen]
        )
        outside = FakeOutside(Settings(), FakeReader(self.objects))
        plan = KIND.plan(asyncio.run(_observe(self.experiment, view, outside)), self.now)
        for child in plan.children:
            manifest = json.loads(json.dumps(child.manifest))
            if view.get(manifest["kind"], "ml", manifest["metadata"]["name"]) is None:
                manifest["metadata"]["uid"] = f"u-{manifest['metadata']['name']}"
                manifest["metadata"]["managedFields"] = MADE_BY_US
                if child.owned:
                    manifest["metadata"]["ownerReferences"] = [
                        {"uid": "u-search", "controller": True, "kind": "Experiment"}
                    ]
                self.objects.append(manifest)
        for patch in plan.patches:
            target = self.get(patch.manifest["kind"], patch.manifest["metadata"]["name"])
            target["spec"] = {**target.get("spec", {}), **patch.manifest.get("spec", {})}
            annotations = patch.manifest["metadata"].get("annotations", {})
            target["metadata"].setdefault("annotations", {}).update(annotations)
        if plan.status is not None:
            self.experiment["status"] = plan.status
        return plan

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found = FakeView(self.objects).get(kind, "ml", name)
        assert found is not None, f"no {kind} {name}"
        assert isinstance(found, dict)
        return found

    def trials(self) -> list[str]:
        return sorted(
            item["metadata"]["name"] for item in self.objects if item["kind"] == "TrainingRun"
        )

    def end(self, number: int, value: float | None, gate: str = "Pass") -> None:
        """Trial `number` ends with this objective, or fails."""
        run = self.get("TrainingRun", f"search-{number}")
        ended = contract.FAILED if value is None else contract.COMPLETE
        run["status"] = {
            "observedGeneration": 1,
            "conditions": [{"type": ended, "status": "True", "reason": "Test"}],
            "gates": [{"metric": "auc", "kind": "Min", "verdict": gate}],
        }
        report: dict[str, Any] = {
            "schema": 1,
            "namespace": "ml",
            "run": f"search-{number}",
            "uid": run["metadata"]["uid"],
            "attempt": 1,
            "outcome": "Failed" if value is None else "Succeeded",
        }
        if value is None:
            report["failure"] = {"step": "train", "reason": "Error", "message": "exit 1"}
        else:
            report["metrics"] = {"auc": str(value)}
            report["artifact"] = {"uri": "s3://models/m/x", "digest": DIGEST}
        self.objects.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": f"search-{number}-report",
                    "namespace": "ml",
                    "uid": f"u-report-{number}",
                    "labels": {
                        contract.LABEL_COMPONENT: contract.COMPONENT_REPORT,
                        contract.LABEL_MODEL: "m",
                    },
                },
                "data": {contract.REPORT_KEY: json.dumps(report)},
            }
        )


async def _observe(parent: dict[str, Any], view: FakeView, outside: FakeOutside) -> Any:
    return await KIND.observe(parent, view, outside)
