"""A namespace as it is in the end, without what differs from one run to the next.

Everything that the API server lists is read, so a new kind is compared without a word here. What is
left out of it: identities, versions, times, random suffixes, addresses, and digests that contain
the namespace's name. Statuses, conditions and counts stay.
"""

from __future__ import annotations

import asyncio
import difflib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from everloop import contract
from everloop.api.conditions import is_true
from faults.admin import Admin, Json

State = dict[str, Json]  # by "kind.group name"

# Written by others for themselves, or by us and expressly not to last.
LEFT_OUT = {
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "serviceaccounts",
}
NAMES_LEFT_OUT = {"kube-root-ca.crt"}  # of every namespace
DROPPED = {"managedFields", "resourceVersion", "selfLink", "clusterIP", "clusterIPs", "nodePort"}
ADDRESSES = {"podIP", "podIPs", "hostIP", "hostIPs"}
MOST_LINES = 150  # of a difference
NOBODY = "<uid of nothing that is here>"
PATTERNS = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), NOBODY),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "<time>"),
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n?", re.S), "<pem>"),
    # Digests of content are compared; those of manifests contain the namespace.
    (re.compile(r"(?<![0-9a-f:.])[0-9a-f]{8,64}(?![0-9a-f])"), "<hex>"),
    (re.compile(r"(?<=\.)1[6-9]\d{8}(?!\d)"), "<seconds>"),
)


def look(admin: Admin, namespace: str, words: Mapping[str, str]) -> State:
    """The namespace as the mirror has it, normalised; `words` are replaced wherever they are."""
    found = {plural: admin.list(plural, namespace) for plural in _compared(admin)}
    return normalise(found, {namespace: "<namespace>", **words})


async def read(admin: Admin, namespace: str, words: Mapping[str, str]) -> State:
    """The same as the API server has it."""
    kinds = _compared(admin)
    lists = await asyncio.gather(*(admin.read(plural, namespace) for plural in kinds))
    return normalise(dict(zip(kinds, lists, strict=True)), {namespace: "<namespace>", **words})


def normalise(found: Mapping[str, list[Json]], given: Mapping[str, str]) -> State:
    """Objects by `plural.group`, as listed."""
    found = {
        plural: [item for item in items if item["metadata"]["name"] not in NAMES_LEFT_OUT]
        for plural, items in found.items()
    }
    words = dict(given)
    for items in found.values():
        for item in items:
            words.update(_words(item))
    # The longest first: one may be the beginning of another.
    known = re.compile("|".join(_pattern(word) for word in sorted(words, key=len, reverse=True)))

    def masked(text: str) -> str:
        text = known.sub(lambda match: words[match[0]], text)
        for pattern, word in PATTERNS:
            text = pattern.sub(word, text)
        return text

    state: State = {}
    for plural, items in found.items():
        for item in sorted(items, key=lambda item: str(item["metadata"]["creationTimestamp"])):
            name = f"{plural} {masked(item['metadata']['name'])}"
            while name in state:  # pods of one ReplicaSet
                name += "'"
            state[name] = _cleaned(item, masked, plural)
    return state


def at_rest(state: State) -> bool:
    """Whether nothing is being deleted, or waits for the garbage collector."""
    metas = [item["metadata"] for item in state.values()]
    owners = [owner["uid"] for meta in metas for owner in meta.get("ownerReferences") or ()]
    return NOBODY not in owners and not any("deletionTimestamp" in meta for meta in metas)


def under_way(state: State) -> bool:
    """Whether one of ours says that it works on something: it may be about to look again."""
    statuses = (item.get("status") for name, item in state.items() if f".{contract.GROUP} " in name)
    return any(is_true(status, contract.RECONCILING) for status in statuses)


def difference(wanted: State, found: State) -> str:
    """A unified diff; empty if they are equal."""
    if wanted == found:
        return ""
    lacking = [f"lacking: {name}" for name in sorted(wanted.keys() - found.keys())]
    further = [f"further: {name}" for name in sorted(found.keys() - wanted.keys())]
    lines = difflib.unified_diff(_lines(wanted), _lines(found), "undisturbed", "disturbed", n=2)
    return "\n".join([*lacking, *further, *itertools.islice(lines, MOST_LINES)])


def _compared(admin: Admin) -> list[str]:
    return [plural for plural in admin.kinds if plural not in LEFT_OUT]


def _lines(state: State) -> list[str]:
    lines = []
    for name in sorted(state):
        text = json.dumps(state[name], indent=1, sort_keys=True)
        lines += [f"{name}: {line}" for line in text.splitlines()]
    return lines


def _words(item: Json) -> Iterable[tuple[str, str]]:
    """What the API server and controllers made up for an object, and what to say instead."""
    meta = item["metadata"]
    prefix = meta.get("generateName")
    name = f"{prefix}<random>" if prefix else meta["name"]
    hashed = (meta.get("labels") or {}).get("pod-template-hash")
    if hashed:  # of a few digits now and then, which no pattern tells from a word
        name = name.replace(hashed, "<template>")
        yield hashed, "<template>"
    yield meta["uid"], f"<uid of {item['kind']} {name}>"
    if prefix:
        yield meta["name"], name


def _pattern(word: str) -> str:
    """Where a word is meant: a port's digits may as well be within a digest."""
    found = re.escape(word)
    hexadecimal = not word.strip("0123456789abcdef")
    return rf"(?<![0-9a-f]){found}(?![0-9a-f])" if hexadecimal else found


def _cleaned(value: Any, masked: Callable[[str], str], plural: str, key: str = "") -> Any:
    if key in ADDRESSES:
        return "<address>"
    if isinstance(value, dict):
        left_out = DROPPED | THEIRS.get(plural, set())
        if not plural.endswith(".everloop.dev"):
            left_out |= GENERATIONS
        return {
            masked(name): "<secret>" if plural == "secrets" and key == "data"
            else _cleaned(item, masked, plural, name)
            for name, item in value.items()
            if name not in left_out
        }  # fmt: skip
    if isinstance(value, list):
        return [_cleaned(item, masked, plural) for item in value]
    return masked(value) if isinstance(value, str) else value


# How often a controller had to look at an object of ours is not its end.
GENERATIONS = {"generation", "observedGeneration", "deployment.kubernetes.io/revision"}
THEIRS = {
    "pods": {"conditions"},  # the node controller changes them on a slow machine
    # copies of the Deployment's, of which those stay that it had for a moment
    "replicasets.apps": {"annotations"},
}
