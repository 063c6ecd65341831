"""A small reading of the NetworkPolicy API: who may call whom, where a network enforces policies.

It knows what our policies use, and stops at anything else rather than let it pass.
"""

from __future__ import annotations

from typing import Any

Dict = dict[str, Any]
STRANGER = {"app": "somebody"}
ENDS = {"Ingress": "from", "Egress": "to"}
NAMESPACE_NAME = "kubernetes.io/metadata.name"  # a label that each namespace has


def policies(objects: list[Dict]) -> list[Dict]:
    """The specs of the NetworkPolicies among these."""
    return [item["spec"] for item in objects if item["kind"] == "NetworkPolicy"]


def chosen(specs: list[Dict], pod: Dict) -> list[Dict]:
    """Those that are about a pod with these labels."""
    return [spec for spec in specs if _selects(spec["podSelector"], pod)]


def may(
    way: str, specs: list[Dict], pod: Dict, peer: Dict, port: Dict, *, namespace: str | None = None
) -> bool:
    """Whether such a pod may be called by such a peer (Ingress), or call it (Egress).

    `namespace` is the peer's, where it is not the one that pod and policies are in.
    """
    ours = [spec for spec in chosen(specs, pod) if way in spec["policyTypes"]]
    return not ours or any(
        ("ports" not in rule or port in rule["ports"])
        and (
            ENDS[way] not in rule or any(_matches(one, peer, namespace) for one in rule[ENDS[way]])
        )
        for spec in ours
        for rule in spec.get(way.lower(), [])
    )


def _matches(one: Dict, peer: Dict, namespace: str | None) -> bool:
    """Without a selector of namespaces, pods of the policy's own are meant."""
    assert set(one) <= {"podSelector", "namespaceSelector"}, one
    if not _selects(one.get("podSelector", {}), peer):
        return False
    if "namespaceSelector" not in one:
        return namespace is None
    assert namespace is not None or one["namespaceSelector"] == {}, "its own name is not known here"
    return _selects(one["namespaceSelector"], {NAMESPACE_NAME: namespace})


def _selects(selector: Dict, labels: Dict) -> bool:
    assert set(selector) <= {"matchLabels"}, selector
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def tcp(port: int) -> Dict:
    """A port as policies write it."""
    return {"protocol": "TCP", "port": port}
