"""Monitor: what it observes. Decisions are plans/monitor.py."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast, get_args

from everloop import contract
from everloop.api.conditions import find, is_true, stalled
from everloop.api.deployment import Deployment
from everloop.api.json_text import read_object
from everloop.api.modelversion import ModelVersion
from everloop.api.monitor import Monitor, Signal
from everloop.cluster import objects
from everloop.handlers.kind import Kind, Object, Ref, View
from everloop.handlers.resources import (
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    MODEL_VERSIONS,
    MONITORS,
    PROMETHEUS_RULES,
    TRAINING_RUNS,
)
from everloop.manifests.retraining import decision_name, retraining_numbers
from everloop.manifests.rules_common import (
    LABEL_MONITOR,
    LABEL_NAMESPACE,
    LABEL_SIGNAL,
    LABEL_VERSION,
    selector,
)
from everloop.plans.monitor import plan
from everloop.plans.monitor_observed import (
    Measured,
    Observed,
    Record,
    SeenAlert,
    SeenGroup,
    SeenRun,
    Watch,
)
from everloop.prometheus.client import PrometheusReader, PrometheusUnavailable, RuleGroup
from everloop.prometheus.recorded import measurements
from everloop.settings import Settings

# A cooldown, as long as it may be written, added to this is still within the calendar.
LATEST = datetime(6000, 1, 1, tzinfo=UTC)


def references(monitor: Object) -> Iterable[Ref]:
    """The Deployment, and what has the name of the model that it serves."""
    namespace = monitor["metadata"]["namespace"]
    yield Ref("Deployment", namespace, name=monitor["spec"]["deployment"])
    champion = (monitor.get("status") or {}).get("champion")
    if champion:
        model = re.sub(r"-v[0-9]+$", "", champion)
        yield Ref("ModelVersion", namespace, model=model)
        yield Ref("TrainingRun", namespace, model=model)


async def observe(parent: Object, view: View, outside: Any) -> Observed:
    """The champion and what waits behind it, runs and records of this Monitor, and Prometheus."""
    monitor = Monitor.model_validate(parent)
    name, namespace = monitor.metadata.name, monitor.metadata.namespace
    deployment, champion = await _served(parent, monitor, view, outside)
    watch = await _watch(outside.prometheus, monitor, champion, outside.settings)
    unseen_run = await _unseen_run(view, outside, namespace, name)
    runs = _runs(view, namespace, name, unseen_run)
    unseen = await _unseen_version(view, outside, namespace, runs) if _fires(watch) else ()
    prometheus_operator = await outside.kube.serves("monitoring.coreos.com/v1", "PrometheusRule")
    # Nothing is awaited from here on: all that is read of the cache is of one moment. A run that is
    # among the names and not among the runs would be a stranger's, and the need be met once more.
    return Observed(
        monitor=monitor,
        raw_status=parent.get("status") or {},
        settings=outside.settings,
        prometheus_operator=prometheus_operator,
        deployment=deployment,
        champion=champion,
        champion_ended=_trained(champion, view, namespace),
        waiting=_waiting(deployment, champion, view, unseen),
        watch=watch,
        run_names=tuple(view.names("TrainingRun", namespace)),
        runs=_runs(view, namespace, name, unseen_run),
        records=_records(view, namespace, name),
        rules=_rules(parent, view),
    )


def _rules(parent: Object, view: View) -> tuple[Object, ...]:
    return (
        *view.children("PrometheusRule", parent),
        *(
            item
            for item in view.children("ConfigMap", parent)
            if item["metadata"]["labels"].get(contract.LABEL_COMPONENT) == contract.COMPONENT_RULES
        ),
    )


async def _served(
    parent: Object, monitor: Monitor, view: View, outside: Any
) -> tuple[Deployment | None, ModelVersion | None]:
    """The Deployment and its champion; as they are now where the cache has none, and there are
    rules: to take these away for a moment would end every alert, and begin its time anew.
    """
    namespace, name = monitor.metadata.namespace, monitor.spec.deployment
    found = view.get("Deployment", namespace, name)
    version = view.get("ModelVersion", namespace, _champion_name(found))
    if version is None and _rules(parent, view):
        found = await outside.kube.get(contract.API_VERSION, "Deployment", namespace, name)
        if champion := _champion_name(found):
            version = await outside.kube.get(
                contract.API_VERSION, "ModelVersion", namespace, champion
            )
    return (
        Deployment.model_validate(found) if found is not None else None,
        ModelVersion.model_validate(version) if version is not None else None,
    )


def _champion_name(deployment: Object | None) -> str:
    return str(((deployment or {}).get("status") or {}).get("champion") or "")


def _trained(champion: ModelVersion | None, view: View, namespace: str) -> datetime | None:
    """When the champion's run ended; when the run is gone, when its version was registered."""
    if champion is None:
        return None
    run = champion.spec.provenance.run if champion.spec.provenance else None
    found = view.get("TrainingRun", namespace, run) if run else None
    ended = ((found or {}).get("status") or {}).get("completionTime")
    return _time(ended or champion.metadata.creation_timestamp)


def _waiting(
    deployment: Deployment | None,
    champion: ModelVersion | None,
    view: View,
    unseen: Iterable[Object],
) -> tuple[str, ...]:
    if deployment is None or champion is None:
        return ()
    rejected = {item.model_version for item in deployment.status.rejected or ()}
    namespace, model = deployment.metadata.namespace, champion.spec.model_name
    newer = [
        (item["spec"]["version"], item["metadata"]["name"])
        for item in (*view.list("ModelVersion", namespace, model=model), *unseen)
        if item["spec"]["version"] > champion.spec.version
        and item["metadata"]["name"] not in rejected
        and _may_challenge(item)
    ]
    return tuple(name for _, name in sorted(newer))


def _may_challenge(version: Object) -> bool:
    """A version that nobody has looked at yet may: a run is Complete once its version is there."""
    status = version.get("status")
    known = find(status, contract.ELIGIBLE) or find(status, contract.READY)
    return known is None or is_true(status, contract.ELIGIBLE)


def _fires(watch: Watch | None) -> bool:
    groups = watch.groups if watch is not None else ()
    return any(alert.firing for group in groups for alert in group.alerts)


async def _unseen_version(
    view: View, outside: Any, namespace: str, runs: Iterable[SeenRun]
) -> tuple[Object, ...]:
    """What came of the newest run, if the cache does not have it: deleted, or too new for it.

    Else an alert that still fires would train again, for what that version may have mended.
    """
    ended = [(run.ended, run.version) for run in runs if run.ended is not None and run.version]
    _, name = max(ended, default=(None, ""))
    if not name or view.get("ModelVersion", namespace, name) is not None:
        return ()
    live = await outside.kube.get(contract.API_VERSION, "ModelVersion", namespace, name)
    return (live,) if live is not None else ()


def _records(view: View, namespace: str, monitor: str) -> tuple[Record, ...]:
    labels = {
        contract.LABEL_COMPONENT: contract.COMPONENT_HISTORY,
        contract.LABEL_MONITOR: monitor,
    }
    found = (_record(item, monitor) for item in view.list("ControllerRevision", namespace, labels))
    return tuple(record for record in found if record is not None)


def _record(item: Object, monitor: str) -> Record | None:
    """A record of this Monitor's; None for anything else under its labels, as a copy."""
    data = item.get("data")
    if not isinstance(data, Mapping) or data.get("type") != "Retraining":
        return None
    try:
        run, trigger, time = str(data["run"]), data["trigger"], _time(data["time"])
        signal = str(trigger.get("signal") or trigger.get("type", ""))
        token = str(trigger.get("token", ""))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    named = decision_name(run) == item["metadata"]["name"]
    if time is None or not named or retraining_numbers(monitor, run) is None:
        return None
    return Record(run=run, signal=signal, token=token, time=time)


async def _unseen_run(view: View, outside: Any, namespace: str, monitor: str) -> Object | None:
    """The run that the newest record says was made, where it is not among those with our label.

    The cache does not have it yet, or a hand took the label.
    """
    records = _records(view, namespace, monitor)
    newest = max(records, key=lambda record: (record.time, record.run), default=None)
    labelled = view.list("TrainingRun", namespace, {contract.LABEL_MONITOR: monitor})
    if newest is None or newest.run in {run["metadata"]["name"] for run in labelled}:
        return None
    live: Object | None = await outside.kube.get(
        contract.API_VERSION, "TrainingRun", namespace, newest.run
    )
    return live


def _runs(view: View, namespace: str, monitor: str, unseen: Object | None) -> tuple[SeenRun, ...]:
    """Runs in the cache, and the one that it did not have."""
    found = {unseen["metadata"]["name"]: unseen} if unseen is not None else {}
    for run in view.list("TrainingRun", namespace, {contract.LABEL_MONITOR: monitor}):
        found[run["metadata"]["name"]] = run
    recorded = {record.run for record in _records(view, namespace, monitor)}
    seen = (_run(run, monitor, recorded) for _, run in sorted(found.items()))
    return tuple(run for run in seen if run is not None)


def _run(run: Object, monitor: str, recorded: Collection[str]) -> SeenRun | None:
    """A run that this Monitor, or one of its name before it, made; None for any other.

    Labels and annotations go along when somebody copies a run, so they alone say nothing. A name is
    for ever: it has to be one that this Monitor gives, and one that a record knows. Until there is
    a record, the API server has to say that we made the run, and its trigger for whom.
    """
    status, meta = run.get("status") or {}, run["metadata"]
    numbers = retraining_numbers(monitor, meta["name"])
    text = (meta.get("annotations") or {}).get(contract.ANNOTATION_TRIGGER, "{}")
    trigger = read_object(text) or {}
    by_us = objects.made_by_us(run)
    if meta["name"] in recorded:
        own = by_us or objects.labels(run).get(contract.LABEL_MONITOR) == monitor
    else:
        own = by_us and trigger.get("monitor") == monitor
    # A search's trial, which may have got the name of a run that was deleted, has an owner.
    if numbers is None or not own or objects.controller(run) is not None:
        return None
    return SeenRun(
        name=meta["name"],
        number=numbers[1],
        model=str((run.get("spec") or {}).get("modelName") or ""),
        finished=is_true(status, contract.COMPLETE) or is_true(status, contract.FAILED),
        problem=stalled(status),
        ended=_time(status.get("completionTime")),
        version=str(status.get("modelVersion") or ""),
        made=meta.get("creationTimestamp", ""),
        trigger=trigger,
    )


async def _watch(
    prometheus: PrometheusReader | None,
    monitor: Monitor,
    champion: ModelVersion | None,
    settings: Settings,
) -> Watch | None:
    if prometheus is None or champion is None:
        return None if prometheus is None else Watch()
    ours = {
        LABEL_NAMESPACE: monitor.metadata.namespace,
        LABEL_MONITOR: monitor.metadata.name,
    }
    own = selector(**ours, **{LABEL_VERSION: champion.metadata.name})
    try:
        groups = await prometheus.rules("{" + selector(**ours) + "}")
        samples = await measurements(prometheus, own, settings)
        retention = await prometheus.retention_seconds()
    except PrometheusUnavailable as error:
        return Watch(error=str(error))
    return Watch(
        groups=tuple(_group(group) for group in groups if ours.items() <= group.labels.items()),
        series=tuple(_measured(sample.labels, sample.value) for sample in samples),
        retention=retention,
    )


def _group(group: RuleGroup) -> SeenGroup:
    return SeenGroup(
        name=group.name,
        evaluated=group.evaluated,
        errors=tuple(
            f"{rule.name}: {rule.last_error}" for rule in group.rules if rule.health == "err"
        ),
        alerts=tuple(
            SeenAlert(
                signal=cast(Signal, alert.labels[LABEL_SIGNAL]),
                champion=alert.labels.get(LABEL_VERSION, ""),
                firing=alert.state == "firing",
                active_at=alert.active_at,
                value=alert.value,
            )
            for alert in group.alerts
            if alert.labels.get(LABEL_SIGNAL) in get_args(Signal)
        ),
    )


def _measured(labels: Mapping[str, str], value: float) -> Measured:
    return Measured(labels.get("__name__", ""), labels, value)


def _time(text: str | None) -> datetime | None:
    """A time; None for one that no clock of ours told, to which no cooldown could be added."""
    time = datetime.fromisoformat(text).astimezone(UTC) if text else None
    return None if time is not None and time > LATEST else time


KIND = Kind(
    resource=MONITORS,
    children=(PROMETHEUS_RULES, CONFIG_MAPS),
    references=references,
    observe=observe,
    plan=plan,
    watched_for=(DEPLOYMENTS, MODEL_VERSIONS, TRAINING_RUNS, CONTROLLER_REVISIONS),
)
