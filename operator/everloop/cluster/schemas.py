"""Whether the cluster's CustomResourceDefinitions know every field of ours.

Older ones prune what they do not know: a user's field would be ignored in silence, and a status
would never be as planned. Reading CRDs is a right for whole clusters, which we do not ask for; what
they say is in the API server's OpenAPI document, which everybody may read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from everloop import contract, errors
from everloop.api.crds import KINDS, crd
from everloop.cluster.client import Client

Schema = Mapping[str, Any]
DOCUMENT = f"/openapi/v3/apis/{contract.API_VERSION}"
NAMED = 3  # fields that a message names


async def outdated(client: Client, kinds: Iterable[str], *, patient: bool = False) -> list[str]:
    """What to do about each CRD that is older than this operator; [] if there is none.

    A schema is published a moment after its CRD is installed: who is `patient` is told what is not
    there yet. Raises errors.ApiError. A cluster that hides the document is taken at its word.
    """
    ours = [kind for kind in KINDS if kind.kind_name in set(kinds)]
    if not ours:
        return []
    try:
        document = await client.request("GET", DOCUMENT, verb="discover")
    except errors.Forbidden:
        return []
    except errors.NotFound:
        document = {}
    served = (document.get("components") or {}).get("schemas") or {}
    found = []
    for kind in ours:
        known = served.get(_name(kind.kind_name))
        if known is None:
            if patient:  # that it is not installed is told elsewhere
                found.append(f"the schema of {kind.plural}.{contract.GROUP} is not published yet")
            continue
        version = crd(kind)["spec"]["versions"][0]
        wanted = version["schema"]["openAPIV3Schema"]["properties"]
        lacking = [
            path for part in ("spec", "status")
            for path in missing(wanted[part], (known.get("properties") or {}).get(part) or {}, part)
        ]  # fmt: skip
        if lacking:
            found.append(_message(kind.plural, lacking))
    return found


def missing(wanted: Schema, served: Schema, path: str) -> Iterator[str]:
    """Fields and values that `wanted` has and `served` lacks, each at its highest level.

    >>> one = {"type": "object", "properties": {"a": {"enum": ["x"]}}}
    >>> two = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {}}}
    >>> list(missing(two, one, "spec"))
    ['spec.a: y', 'spec.b']
    """
    if served.get("x-kubernetes-preserve-unknown-fields"):
        return
    known = served.get("enum")
    if known is not None:
        yield from (f"{path}: {value}" for value in wanted.get("enum", ()) if value not in known)
    members = served.get("properties") or {}
    for name, below in (wanted.get("properties") or {}).items():
        if name in members:
            yield from missing(below, members[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        below = wanted.get(key)
        if isinstance(below, Mapping):
            inner = served.get(key)
            yield from missing(below, inner if isinstance(inner, Mapping) else {}, path + mark)


def _name(kind: str) -> str:
    """The name of a kind's schema in the document: its group backwards, version, kind."""
    backwards = ".".join(reversed(contract.GROUP.split(".")))
    return f"{backwards}.{contract.VERSION}.{kind}"


def _message(plural: str, lacking: list[str]) -> str:
    more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
    return (
        f"the CustomResourceDefinition {plural}.{contract.GROUP} is older than this operator: it "
        f"lacks {', '.join(lacking[:NAMED])}{more}; upgrade the chart with crds.enabled=true, or "
        "kubectl apply --server-side -f crds/ of this release"
    )
