"""What changed between two looks at an object, in words. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
LONG = re.compile(r"-?\d+\.\d{5,}")  # a number with more digits than people read
Said = Iterator[tuple[bool, str]]  # (worth remembering, text)


def narrate(kind: str, before: Object, after: Object) -> Said:
    """What to say about an object that was `before` (empty: it is new) and is `after`."""
    told = {
        "experiments": _experiment,
        "trainingruns": _run,
        "modelversions": _version,
        "deployments": _deployment,
        "monitors": _monitor,
    }
    yield from told[kind](before, after)


def conditions(item: Object) -> dict[str, Object]:
    """Conditions by type."""
    return {one["type"]: one for one in item.get("status", {}).get("conditions", [])}


def reason(item: Object, type_: str = "Ready") -> str:
    """`Reason: message` of a condition."""
    one = conditions(item).get(type_, {})
    return f"{one.get('reason', 'no condition yet')}: {one.get('message', '')}".rstrip(": ")


def trigger(run: Object) -> dict[str, Any]:
    """Why a run exists, as it says itself."""
    text = run["metadata"].get("annotations", {}).get("everloop.dev/trigger", "{}")
    found: dict[str, Any] = json.loads(text)
    return found


def short(number: str | float | None) -> str:
    """A number for people."""
    try:
        return f"{float(number):.4g}" if number is not None else "?"
    except ValueError:
        return str(number)


def _experiment(before: Object, after: Object) -> Said:
    old, new = before.get("status", {}), after.get("status", {})
    if new.get("modelVersion") and new.get("modelVersion") != old.get("modelVersion"):
        best = new.get("best", {})
        yield (
            True,
            f"the search has ended: trial {best.get('trial')} is best, "
            f"registered as {new['modelVersion']}",
        )


def _run(before: Object, after: Object) -> Said:
    name, trial = after["metadata"]["name"], _trial(after)
    who = f"trial {trial}" if trial is not None else f"run {name}"
    if not before and trial is not None:
        searched = {k: short(v) for k, v in after["spec"]["parameters"].items()}
        yield False, f"{who} starts: {_pairs(searched)}"
    old, new = conditions(before), conditions(after)
    status = after.get("status", {})
    for type_ in ("Complete", "Failed"):
        if _true(new.get(type_)) and not _true(old.get(type_)):
            metrics = status.get("metrics") or {}
            auc = f"val_auc {short(metrics.get('val_auc'))}" if metrics else reason(after, type_)
            yield trial is None, f"{who} {type_.lower()}: {auc}"
            for gate in status.get("gates") or []:
                if trial is None:
                    yield True, _gate(gate)
    was, now = before.get("status", {}).get("phase"), status.get("phase")
    if trial is None and now and now != was and now not in ("Complete", "Failed"):
        yield False, f"{who}: {conditions(after).get('Ready', {}).get('message') or now}"


def _gate(gate: Object) -> str:
    said = LONG.sub(lambda found: short(found[0]), gate.get("message", ""))
    return f"gate {gate['metric']} {gate['kind']}: {gate['verdict']}. {said}"


def _version(before: Object, after: Object) -> Said:
    if before:
        return
    spec = after["spec"]
    provenance = spec.get("provenance") or {}
    data = ((provenance.get("resolved") or {}).get("data") or [{}])[0]
    yield (
        True,
        f"{after['metadata']['name']} is registered: artifact {spec['artifact']['digest'][:19]}, "
        f"from run {provenance.get('run')}, {data.get('rows')} rows of data "
        f"{str(data.get('digest'))[:19]}",
    )


def _deployment(before: Object, after: Object) -> Said:
    old, new = before.get("status", {}), after.get("status", {})
    name = after["metadata"]["name"]
    if new.get("champion") and new.get("champion") != old.get("champion"):
        yield True, f"mldep {name}: {new['champion']} is champion, at {new.get('url')}"
    if new.get("challenger") and new.get("challenger") != old.get("challenger"):
        yield True, f"mldep {name}: {new['challenger']} challenges {new.get('champion')}"
    shares = [share["weight"] for share in new.get("traffic") or []]
    if (weights := traffic(after)) != traffic(before) and sum(shares):
        yield True, f"mldep {name}: traffic {weights}"
    known = [_verdict(one) for one in old.get("verdicts") or []]
    for verdict in new.get("verdicts") or []:
        if (text := _verdict(verdict)) not in known:
            yield True, f"mldep {name}: {text}"
    for one in new.get("rejected") or []:
        if one not in (old.get("rejected") or []):
            yield True, f"mldep {name}: {one['modelVersion']} rejected: {one['reason']}"


def _verdict(one: Object) -> str:
    return (
        f"analysis in step {one['step']}: {one['metric']} {one['verdict']} with "
        f"{one.get('samples', 0)} requests to the challenger. {one.get('message', '')}".rstrip()
    )


def traffic(deployment: Object) -> str:
    """`flights-v1 90 %, flights-v2 10 %`, as read back from the router."""
    shares = deployment.get("status", {}).get("traffic") or []
    return ", ".join(f"{share['modelVersion']} {share['weight']} %" for share in shares)


def _monitor(before: Object, after: Object) -> Said:
    old = {one["name"]: one for one in before.get("status", {}).get("signals") or []}
    watched = after.get("status", {}).get("champion")
    changed = watched != before.get("status", {}).get("champion")
    for one in (watched and after["status"].get("signals")) or []:
        if changed or one["state"] != old.get(one["name"], {}).get("state"):
            text = f"monitor: {one['name']} of {watched} is {one['state']}"
            if one.get("value"):
                text += f", {short(one['value'])} (bound {short(one.get('bound'))}"
                text += f", {one.get('samples', '?')} requests in the window)"
            if one.get("top"):
                text += f", most moved: {', '.join(one['top'])}"
            yield one["state"] == "Firing", text
    for one in after.get("status", {}).get("refusals") or []:
        if one not in (before.get("status", {}).get("refusals") or []):
            yield False, f"monitor makes no run: {one['reason']}. {one.get('message', '')}"


def _trial(run: Object) -> str | None:
    number = run["metadata"].get("labels", {}).get("everloop.dev/trial")
    return None if number is None else str(number)


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _true(condition: Object | None) -> bool:
    return condition is not None and condition.get("status") == "True"
