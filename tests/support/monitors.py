"""A small world around one Monitor: passes are ticked, and what they make is there afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from golden import MADE_BY_US, FakeOutside, FakeReader, tick

from everloop import contract
from everloop.api.monitor import Monitor
from everloop.handlers.monitor import KIND
from everloop.manifests.drift_rules import DRIFT_OVER, DRIFT_RATIO
from everloop.manifests.health_rules import ANSWERS, ERROR_RATE, HEALTH_OVER, TARGETS_DOWN
from everloop.manifests.rules import group_kind, rule_groups
from everloop.manifests.rules_common import REQUESTS
from everloop.plans.plan import Plan
from everloop.prometheus.client import Alert, PrometheusUnavailable, Rule, RuleGroup, Sample
from everloop.settings import Settings

Dict = dict[str, Any]
NAMESPACE = "ml"
START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
RUN_SPEC: Dict = {
    "modelName": "flights",
    "data": [{"name": "days", "uri": "s3://flights/days/", "digest": DIGEST}],
    "newData": {"minRows": 5, "arrivedAfter": "2020-01-01T00:00:00Z"},
    "parameters": {"learning_rate": "0.1", "max_iter": "100"},
    "steps": [{"name": "train", "role": "Evaluate", "command": ["python", "train.py"]}],
    "output": {"uri": "s3://models/flights"},
    "gates": [{"metric": "val_auc", "min": "0.55"}],
    "suspend": True,
}
DRIFTED = {"dewp": 2.2, "temp": 2.0, "hour": 0.4}


def make_monitor(**spec: Any) -> Dict:
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "Monitor",
        "metadata": {
            "name": "flights-watch",
            "namespace": NAMESPACE,
            "uid": "uid-watch",
            "generation": 1,
        },
        "spec": {
            "deployment": "flights",
            "window": "1d",
            "minSamples": 150,
            "inputs": {"features": ["*"]},
            "errors": {"rate": "0.05"},
            "absence": {"for": "0s"},
            "retrain": {"signals": ["InputDrift", "ErrorsHigh"], "cooldown": "1h"},
            **spec,
        },
    }


def make_deployment(champion: str | None = "flights-v1", **status: Any) -> Dict:
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": "flights", "namespace": NAMESPACE, "uid": "uid-dep"},
        "spec": {"modelName": "flights", "rollout": {"steps": [{"weight": 100}]}},
        "status": {
            "observedGeneration": 1,
            **({"champion": champion} if champion else {}),
            **status,
        },
    }


def make_version(number: int = 1, *, eligible: bool = True, **spec: Any) -> Dict:
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": f"flights-v{number}",
            "namespace": NAMESPACE,
            "uid": f"uid-v{number}",
            "creationTimestamp": "2026-01-01T12:00:00Z",
        },
        "spec": {
            "modelName": "flights",
            "version": number,
            "artifact": {"uri": "s3://models/flights/x", "digest": DIGEST},
            "profile": {"uri": "s3://models/flights/x/profile.json", "digest": DIGEST},
            "provenance": {"run": f"made-v{number}", "runSpec": RUN_SPEC},
            **spec,
        },
        "status": {
            "conditions": [
                {"type": "Eligible", "status": "True" if eligible else "False", "reason": "Gates"}
            ]
        },
    }


@dataclass
class FakePrometheus:
    """A Prometheus that has the rules which the last pass wanted, and says what it is told to."""

    groups: list[Dict] = field(default_factory=list)
    evaluated: bool = True
    error: str = ""
    rule_error: str = ""
    retention: float | None = 30 * 86400.0
    alerts: dict[str, Alert] = field(default_factory=dict)
    values: list[Sample] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None  # happens while it is asked

    async def rules(self, selector: str) -> list[RuleGroup]:
        self.meanwhile()
        self._fail()
        return [self._group(group) for group in self.groups]

    async def query(self, promql: str, at: datetime | None = None) -> list[Sample]:
        self._fail()
        return [item for item in self.values if item.labels["__name__"] in promql]

    async def retention_seconds(self) -> float | None:
        self._fail()
        return self.retention

    def _fail(self) -> None:
        if self.error:
            raise PrometheusUnavailable(self.error)

    def _group(self, group: Dict) -> RuleGroup:
        drift = group_kind(group["name"]) == "drift"
        rules = []
        for rule in group["rules"]:
            signal = rule["labels"].get("everloop_signal")
            alert = self.alerts.get(signal) if "alert" in rule else None
            health = "err" if self.rule_error and drift else "ok"
            name = rule.get("alert") or rule["record"]
            rules.append(Rule(name, health, self.rule_error, (alert,) if alert else ()))
        return RuleGroup(group["name"], self.evaluated, group["rules"][0]["labels"], tuple(rules))


class World:
    """Objects of one namespace, and Prometheus."""

    def __init__(self, monitor: Dict | None = None, settings: Settings | None = None) -> None:
        self.settings = settings or Settings(prometheus_url="http://prometheus")
        self.monitor = monitor or make_monitor()
        self.deployment = make_deployment()
        self.versions = [make_version()]
        self.made: list[Dict] = []  # TrainingRuns and ControllerRevisions
        self.owned: list[Dict] = []
        self.prometheus: FakePrometheus | None = FakePrometheus()
        self.absent_kinds: frozenset[str] = frozenset()
        self.hidden: set[str] = set()  # names that the cache has not seen yet
        self.arriving: set[str] = set()  # of these, what it sees while Prometheus is asked
        self.old: dict[str, Dict] = {}  # what the cache has of a name that has changed since
        self.status_writes = 0

    # --- what happens ----------------------------------------------------------------------------
    def load_rules(self) -> None:
        """Prometheus takes over the rules for the champion of now, and everything is well."""
        assert self.prometheus is not None
        champion = self.deployment["status"]["champion"]
        typed = Monitor.model_validate(self.monitor)
        self.prometheus.groups = rule_groups(typed, champion, self.settings)
        self.measure(**{TARGETS_DOWN: 0.0, REQUESTS: 300.0, ANSWERS: 200.0, ERROR_RATE: 0.01})
        self.verdict("InputDrift", 0.0)
        self.verdict("ErrorsHigh", 0.0)
        self.verdict("Absent", 0.0)
        self.drift({"dewp": 0.5, "temp": 0.3})

    def measure(self, **values: float) -> None:
        for name, value in values.items():
            self._set(name, value)

    def verdict(self, signal: str, value: float | None) -> None:
        name = DRIFT_OVER if signal.endswith("Drift") else HEALTH_OVER
        self._set(name, value, everloop_signal=signal)

    def drift(self, ratios: dict[str, float]) -> None:
        for feature, value in ratios.items():
            self._set(DRIFT_RATIO, value, side="input", feature=feature)

    def alert(
        self, signal: str, since: datetime, state: str = "firing", version: str = "flights-v1"
    ) -> None:
        assert self.prometheus is not None
        labels = {"everloop_signal": signal, "model_version": version}
        self.prometheus.alerts[signal] = Alert(labels, {}, state, since, 2.2)

    def _set(self, name: str, value: float | None, **labels: str) -> None:
        assert self.prometheus is not None
        champion = self.deployment["status"].get("champion", "")
        wanted = {"__name__": name, "model_version": champion, **labels}
        rest = [item for item in self.prometheus.values if dict(item.labels) != wanted]
        self.prometheus.values = rest + ([] if value is None else [Sample(wanted, value, 0.0)])

    # --- passes ----------------------------------------------------------------------------------
    def step(self, now: datetime = START) -> Plan:
        """One pass; what it makes is there afterwards."""
        live = [self.monitor, self.deployment, *self.versions, *self.made, *self.owned]
        cached = [
            self.old.get(item["metadata"]["name"], item)
            for item in live
            if item["metadata"]["name"] not in self.hidden
        ]
        if self.prometheus is not None:
            self.prometheus.meanwhile = lambda: cached.extend(
                item for item in live if item["metadata"]["name"] in self.arriving
            )
        reader = FakeReader(live, absent_kinds=self.absent_kinds)
        outside = FakeOutside(self.settings, reader, self.prometheus)
        plan = tick(KIND, self.monitor, cached, outside, now)
        names = {item["metadata"]["name"] for item in [*self.made, *self.owned]}
        for child in plan.children:
            item = copy.deepcopy(child.manifest)
            if item["metadata"]["name"] in names:
                continue
            item["metadata"] |= {
                "uid": f"uid-{item['metadata']['name']}",
                "creationTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "managedFields": MADE_BY_US,
            }
            if child.owned:
                item["metadata"]["ownerReferences"] = [{"uid": "uid-watch", "controller": True}]
            (self.owned if child.owned else self.made).append(item)
        if plan.status != self.monitor.get("status"):
            self.status_writes += 1
        self.monitor = {**self.monitor, "status": plan.status}
        return plan

    @property
    def runs(self) -> list[Dict]:
        return [item for item in self.made if item["kind"] == "TrainingRun"]

    @property
    def status(self) -> Dict:
        return dict(self.monitor["status"])

    def signal(self, name: str) -> Dict:
        return next(item for item in self.status["signals"] if item["name"] == name)

    def refusals(self) -> dict[str, int]:
        return {item["reason"]: item["count"] for item in self.status.get("refusals", [])}

    def finish(self, run: Dict, at: datetime, outcome: str = "Complete") -> None:
        run["status"] = {
            "completionTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "conditions": [{"type": outcome, "status": "True", "reason": "Done"}],
        }


def after(**units: float) -> datetime:
    """START and a while."""
    return START + timedelta(**units)


def firing_world(**spec: Any) -> World:
    """Rules loaded, and InputDrift firing since START."""
    world = World(make_monitor(**spec) if spec else None)
    world.load_rules()
    world.step()
    world.alert("InputDrift", START)
    world.verdict("InputDrift", 1.0)
    world.drift(DRIFTED)
    return world
