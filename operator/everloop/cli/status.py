"""Draw the chain of one model: run, version, deployment with weights, signals, runs they caused."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from everloop import contract
from everloop.api.json_text import read_object
from everloop.cli.client import Client, ClientError
from everloop.cli.output import say

NAME = "status"
HELP = "the chain of one model, from its runs to the runs its monitors caused"
_MAKERS = (contract.LABEL_EXPERIMENT, contract.LABEL_MONITOR)  # runs that are drawn under these

Object = dict[str, Any]


@dataclass(frozen=True)
class Chain:
    """Everything of one model in a namespace."""

    model: str
    experiments: list[Object]
    runs: list[Object]
    versions: list[Object]
    deployments: list[Object]
    monitors: list[Object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, or any object of it."""
    parser.add_argument("name", metavar="NAME", help="a model, or the name of any object of it")


def run(client: Client, arguments: argparse.Namespace) -> int:
    """Print the chain."""
    for line in draw(find_chain(client, arguments.name)):
        say(line)
    return 0


def find_chain(client: Client, name: str) -> Chain:
    """All objects of the model that is called, or has an object that is called, `name`."""
    kinds = ("experiments", "trainingruns", "modelversions", "deployments")
    objects = {plural: client.list(plural) for plural in kinds}
    monitors = client.list("monitors")
    models = {_model(item) for items in objects.values() for item in items}
    model = name if name in models else None
    for items in objects.values():
        for item in items:
            if model is None and item["metadata"]["name"] == name:
                model = _model(item)
    targets = {item["metadata"]["name"]: _model(item) for item in objects["deployments"]}
    for item in monitors:
        if model is None and item["metadata"]["name"] == name:
            model = targets.get(item["spec"]["deployment"])
    if model is None:
        known = f"; models here: {', '.join(sorted(models))}" if models else ""
        raise ClientError(f"nothing is called {name} in namespace {client.namespace}{known}")
    picked = {
        plural: [item for item in items if _model(item) == model]
        for plural, items in objects.items()
    }
    return Chain(
        model,
        picked["experiments"],
        picked["trainingruns"],
        picked["modelversions"],
        picked["deployments"],
        [item for item in monitors if targets.get(item["spec"]["deployment"]) == model],
    )


def draw(chain: Chain) -> Iterable[str]:
    """The lines of the picture; pure, so that it can be compared in a test."""
    yield f"model {chain.model}"
    branches = list(_branches(chain))
    for number, branch in enumerate(branches):
        last = number == len(branches) - 1
        for line, text in enumerate(branch):
            stem = "  " if last else "│ "
            if line == 0:
                stem = "└─" if last else "├─"
            yield f"{stem} {text}"


def _branches(chain: Chain) -> Iterable[list[str]]:
    """What hangs on the model, each as its line and the lines below it."""
    for item in chain.experiments:
        own = [run for run in chain.runs if _owner(run) == item["metadata"]["uid"]]
        yield list(_experiment(item, own))
    for item in sorted(chain.runs, key=_created):
        if not any(_label(item, label) for label in _MAKERS):
            yield [f"run {_run(item)}"]
    for item in sorted(chain.versions, key=lambda version: version["spec"]["version"]):
        yield list(_version(item))
    for item in chain.deployments:
        yield list(_deployment(item))
        for monitor in chain.monitors:
            if monitor["spec"]["deployment"] == item["metadata"]["name"]:
                yield list(_monitor(monitor, chain.runs))


def _experiment(item: Object, trials: list[Object]) -> Iterable[str]:
    status = item.get("status", {})
    best = status.get("best")
    text = f"experiment {item['metadata']['name']}  {status.get('phase', '')}"
    text += f"  {status.get('succeeded', 0)}/{item['spec']['trials']} trials"
    if best:
        text += (
            f", best {best['run']} {item['spec']['objective']['metric']}={_short(best['value'])}"
        )
    yield text
    for trial in sorted(trials, key=_number):
        mark = "★" if best and best["run"] == trial["metadata"]["name"] else " "
        yield f" {mark} trial {_run(trial)}"


def _run(item: Object) -> str:
    status = item.get("status", {})
    text = f"{item['metadata']['name']}  {status.get('phase') or 'Pending'}"
    shown = _metrics(item)
    if shown:
        text += "  " + " ".join(f"{name}={_short(value)}" for name, value in shown.items())
    if status.get("modelVersion"):
        text += f"  → {status['modelVersion']}"
    failure = status.get("failure")
    if failure:
        text += f"  {failure['step']}: {failure['reason']}"
    for gate in status.get("gates") or []:
        if gate["verdict"] != "Pass":
            text += f"  gate {gate['metric']} {gate['kind']}: {gate['verdict']}"
    return text


def _metrics(item: Object) -> dict[str, str]:
    """The metrics that decide: those of gates, or else the first two."""
    metrics = item.get("status", {}).get("metrics") or {}
    gated = {gate["metric"] for gate in item["spec"].get("gates") or []}
    decisive = {name: value for name, value in metrics.items() if name in gated}
    return decisive or dict(list(metrics.items())[:2])


def _version(item: Object) -> Iterable[str]:
    spec = item["spec"]
    provenance = spec.get("provenance") or {}
    data = (provenance.get("resolved") or {}).get("data") or []
    text = f"version {item['metadata']['name']}  {spec['artifact']['digest'][:19]}"
    if provenance.get("run"):
        text += f"  from run {provenance['run']}"
    if provenance.get("parent"):
        text += f"  after {provenance['parent']}"
    yield text
    for source in data:
        rows = f", {source['rows']} rows" if source.get("rows") else ""
        yield f"   data {source['name']} {source['digest'][:19]}{rows}"


def _deployment(item: Object) -> Iterable[str]:
    status = item.get("status", {})
    yield (
        f"mldep {item['metadata']['name']}  {status.get('phase', '')}  "
        f"{status.get('url', '')}".rstrip()
    )
    for share in status.get("traffic") or []:
        bar = "█" * round(share["weight"] / 5)
        yield (
            f"   {share['modelVersion']:<20} {share['weight']:>3} % {bar:<20} "
            f"{share['role']}, {share.get('readyReplicas', 0)} ready"
        )
    for verdict in status.get("verdicts") or []:
        yield (
            f"   step {verdict['step']} {verdict['metric']}: {verdict['verdict']}"
            f" ({verdict.get('message', '')})"
        )
    for rejected in status.get("rejected") or []:
        yield f"   rejected {rejected['modelVersion']}: {rejected['reason']}"


def _monitor(item: Object, runs: list[Object]) -> Iterable[str]:
    status, name = item.get("status", {}), item["metadata"]["name"]
    yield f"monitor {name}  {status.get('phase', '')}  watches {status.get('champion', '-')}"
    for signal in status.get("signals") or []:
        text = f"   {signal['name']:<12} {signal['state']:<8}"
        if signal.get("value"):
            text += f" {_short(signal['value'])} (bound {_short(signal.get('bound', '?'))})"
        if signal.get("top"):
            text += f"  {', '.join(signal['top'])}"
        yield text.rstrip()
    for refusal in status.get("refusals") or []:
        text = f"   refused {refusal['count']} times: {refusal['reason']}"
        yield f"{text} ({refusal['message']})" if refusal.get("message") else text
    for caused in sorted(runs, key=_created):
        if _label(caused, contract.LABEL_MONITOR) == name:
            yield f"   ↻ run {_run(caused)}{_why(caused)}"


def _why(item: Object) -> str:
    text = item["metadata"].get("annotations", {}).get(contract.ANNOTATION_TRIGGER)
    if not text:
        return ""
    trigger = read_object(text) or {}
    return f"  because {trigger.get('signal') or trigger.get('type') or text[:80]}"


def _number(trial: Object) -> int:
    """The number at the end of a trial's name; unlike its label nobody can change it."""
    number = re.search(r"-([0-9]{1,9})$", trial["metadata"]["name"])
    return int(number[1]) if number else 0


def _model(item: Object) -> str:
    return str(item["spec"]["modelName"])


def _label(item: Object, name: str) -> str | None:
    value = item["metadata"].get("labels", {}).get(name)
    return None if value is None else str(value)


def _owner(item: Object) -> str | None:
    for owner in item["metadata"].get("ownerReferences", []):
        if owner.get("controller"):
            return str(owner["uid"])
    return None


def _created(item: Object) -> str:
    return str(item["metadata"].get("creationTimestamp", ""))


def _short(number: str) -> str:
    """A number as a person reads it: at most four digits after the point."""
    try:
        return f"{float(number):.4f}".rstrip("0").rstrip(".")
    except ValueError:
        return number
