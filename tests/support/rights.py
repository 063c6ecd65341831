"""Rights: what the chart grants, what an operator used by the audit log, and how tests get them.

An operator under test is a service account with the chart's rules and nothing else, so a missing
rule fails the test that needs it; a rule that nothing used is found when the tier has run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import NAMESPACE, of_kind, rendered
from kube import Json, Kube
from operator_process import eventually

ACCOUNT = "everloop"  # the chart's, of a release of this name
TOY = "toy"  # the account of the operator with the toy kind: the chart's rights and those for toys
TOY_RULES = [
    {"apiGroups": ["test.everloop.dev"], "resources": ["toys"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["test.everloop.dev"], "resources": ["toys/status"], "verbs": ["patch"]},
    {"apiGroups": ["test.everloop.dev"], "resources": ["toys/finalizers"], "verbs": ["update"]},
]
RBAC = "rbac.authorization.k8s.io"
AT_HOME = f"{ACCOUNT}-at-home"  # a ClusterRole: see `role_at_home`
EVERYTHING: Json = {  # to every service account, for clusters where rights are not the question
    "apiVersion": f"{RBAC}/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "everything"},
    "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": "system:serviceaccounts"}],
}
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
RECORD = Path(__file__).with_name("rights-used.yaml")


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource (with its subresource)."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


# Used when things go wrong at one moment, which no run of the tests is sure to meet.
RARE: dict[Right, str] = {
    Right("", "events", "patch"): "an event that repeats is counted once a minute",
}


EVERYWHERE = "*"


@dataclass(frozen=True, order=True)
class Grant:
    """A right, where it holds, and for which objects by name (none: for all)."""

    right: Right
    namespace: str  # or EVERYWHERE
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.right} in {self.namespace} {' '.join(self.names)}".rstrip()


# In the operator's own namespace and nowhere else; a creation has no name to be held against.
OWN: dict[Right, tuple[str, ...]] = {
    Right(group, resource, verb): names
    for group, resource, name in (
        ("coordination.k8s.io", "leases", f"{ACCOUNT}-operator"),
        ("", "secrets", f"{ACCOUNT}-report-ca"),
    )
    for verb, names in (("create", ()), ("get", (name,)), ("patch", (name,)))
}


def granted(objects: list[Json]) -> set[Grant]:
    """What the chart's bindings give, each to the operator's service account alone."""
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    found = set()
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        assert binding["subjects"] == [subject], binding["metadata"]["name"]
        namespace = binding["metadata"].get("namespace", EVERYWHERE)
        assert (namespace == EVERYWHERE) == (binding["kind"] == "ClusterRoleBinding")
        for rule in _role(objects, binding)["rules"]:
            names = tuple(sorted(rule.get("resourceNames", ())))
            found |= {Grant(right, namespace, names) for right in _allowed(rule)}
    return found


def role_at_home() -> Json:
    """All that the chart grants to an operator that reconciles its own namespace and no other.

    As one ClusterRole, for tiers with a namespace for each of thousands of operators: the rules are
    the same for all, and one `binding_at_home` in each gives what the chart's Roles there would.
    """
    objects = rendered("--set", f"watchNamespaces={{{NAMESPACE}}}")
    roles = [_role(objects, binding) for binding in of_kind(objects, "RoleBinding")]
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": AT_HOME},
        "rules": [rule for role in roles for rule in role["rules"]],
    }


def binding_at_home(namespace: str) -> Json:
    """`role_at_home` for the service account of this namespace, and there alone."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": ACCOUNT, "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": AT_HOME},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }


def _role(objects: list[Json], binding: Json) -> Json:
    """The one that is bound: of this kind, and a Role of the binding's own namespace."""
    wanted = binding["roleRef"]
    here = binding["metadata"].get("namespace") if wanted["kind"] == "Role" else None
    (role,) = (
        item
        for item in of_kind(objects, wanted["kind"])
        if (item["metadata"]["name"], item["metadata"].get("namespace")) == (wanted["name"], here)
    )
    return role


def _allowed(rule: Json) -> set[Right]:
    assert set(rule) <= {"apiGroups", "resources", "verbs", "resourceNames"}, rule
    return {
        Right(group, resource, verb)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@dataclass(frozen=True)
class Usage:
    """What an account asked for."""

    used: frozenset[Right]
    refused: frozenset[str]  # what it was not allowed to do
    everywhere: frozenset[Right]  # lists and watches of all namespaces at once


def usage(logs: Iterable[Path], account: str = ACCOUNT, namespace: str = "") -> Usage:
    """By audit logs: of the account in any namespace, or in this one.

    To name an owner is to use the right to its finalizers: the API server may ask for it. What a
    quota or a namespace's end refuses was allowed; and who deletes a namespace takes its Roles.
    """
    logs = list(logs)
    ended = _deleted_namespaces(logs)
    used: set[Right] = set()
    refused: set[str] = set()
    everywhere: set[Right] = set()
    for entry in _entries(logs, account, namespace):
        about = entry.get("objectRef") or {}
        if not about.get("resource"):
            continue  # discovery, which everybody may read
        group = about.get("apiGroup", "")
        resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        right = Right(group, resource, entry["verb"])
        decision = (entry.get("annotations") or {}).get("authorization.k8s.io/decision")
        if decision == "forbid":
            if about.get("namespace") in ended:
                continue
            refused.add(f"{right}: {entry['responseStatus'].get('message', '')}")
            continue
        used.add(right)
        if right.verb in ("list", "watch") and not about.get("namespace"):
            everywhere.add(right)
        used.update(_owners(entry.get("requestObject") or {}))
    return Usage(frozenset(used), frozenset(refused), frozenset(everywhere))


def _entries(logs: Iterable[Path], account: str, namespace: str) -> Iterable[Json]:
    prefix, suffix = f"system:serviceaccount:{namespace}", f":{account}"
    for log in logs:
        with log.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n") or suffix.encode() not in line:
                    continue
                entry: Json = json.loads(line)
                user = (entry.get("user") or {}).get("username", "")
                if user.startswith(prefix) and user.endswith(suffix):
                    yield entry


def _deleted_namespaces(logs: Iterable[Path]) -> set[str]:
    found = set()
    for log in logs:
        with log.open("rb") as lines:
            for line in lines:
                if b'"verb":"delete"' in line and b'"resource":"namespaces"' in line:
                    found.add(str(json.loads(line)["objectRef"].get("name")))
    return found


def _owners(body: Json) -> Iterable[Right]:
    for owner in (body.get("metadata") or {}).get("ownerReferences") or ():
        if owner.get("blockOwnerDeletion"):
            group = owner["apiVersion"].rpartition("/")[0]
            yield Right(group, f"{owner['kind'].lower()}s/finalizers", "update")


# --- the record: what complete runs of the tiers used ---------------------------------------------
def recorded() -> dict[Right, list[str]]:
    """Right → the tiers in which it was used."""
    items = yaml.safe_load(RECORD.read_text()) if RECORD.exists() else []
    return {
        Right(group, resource, verb): list(tiers)
        for group, resources in (items or {}).items()
        for resource, verbs in resources.items()
        for verb, tiers in verbs.items()
    }


def record(tier: str, used: Iterable[Right], *, complete: bool) -> None:
    """Write down what a run of this tier used; a complete run takes the place of those before."""
    found = {
        right: {name for name in tiers if name != tier or not complete}
        for right, tiers in recorded().items()
    }
    for right in used:
        found.setdefault(right, set()).add(tier)
    tree: dict[str, Any] = {}
    for right, tiers in sorted(found.items()):
        if tiers:
            resources = tree.setdefault(right.group, {})
            resources.setdefault(right.resource, {})[right.verb] = sorted(tiers)
    head = (
        "# Rights that the operator used in complete runs of the tiers, by the audit log: group,\n"
        "# resource, verb. Written by UPDATE_RIGHTS=1 make test-api, and the same of test-e2e.\n"
    )
    RECORD.write_text(head + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None))


def whole(session: pytest.Session, folder: Path) -> bool:
    """Whether every test of a tier ran, and passed."""
    files = {item.path for item in session.items}
    chosen = session.config.option.keyword or any("::" in name for name in session.config.args)
    return set(folder.glob("test_*.py")) <= files and not chosen and not session.testsfailed


def judge(tier: str, seen: Usage, *, update: bool, complete: bool) -> None:
    """Hold what a run used against the record, or write it down.

    Only a complete run shows that something is not used any more.
    """
    assert not seen.refused, f"the chart lacks: {sorted(seen.refused)}"
    if update:
        record(tier, seen.used, complete=complete)
    known = recorded()
    missing = sorted(str(right) for right in seen.used - known.keys() - RARE.keys())
    assert not missing, f"not in {RECORD.name}, see its head: {missing}"
    if complete:
        expected = {right for right, tiers in known.items() if tier in tiers}
        unused = sorted(str(right) for right in expected - seen.used)
        assert not unused, f"recorded for {tier}, and not used any more: {unused}"


# --- accounts for tests ---------------------------------------------------------------------------
def account(
    kube: Kube, folder: Path, namespace: str, name: str = ACCOUNT, values: tuple[str, ...] = ()
) -> Path:
    """A kubeconfig of a service account in this namespace with the rights of a chart there."""
    objects = of_kind(rendered(*values), "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    for item in _moved(objects, namespace, name):
        kube.apply(item, "tests")
    if name == TOY:
        _grant_toys(kube, namespace)
    found = kubeconfig_of(kube, folder, namespace, name)
    _until_allowed(kube, namespace, name, narrowed=bool(values))
    return found


def kubeconfig_of(kube: Kube, folder: Path, namespace: str, name: str) -> Path:
    """A kubeconfig with a token of this service account, which is made if it is missing."""
    who = {"kind": "ServiceAccount", "apiVersion": "v1"}
    kube.apply(who | {"metadata": {"name": name, "namespace": namespace}}, "tests")
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 7200},
    }
    token = kube.call("POST", path, request)["status"]["token"]
    return _kubeconfig(kube, folder / f"{namespace}-{name}.kubeconfig", token)


def _moved(objects: list[Json], namespace: str, name: str) -> Iterable[Json]:
    """The chart's roles as if it had been installed in another namespace."""
    for original in objects:
        item = deepcopy(original)
        meta = item["metadata"]
        if meta.get("namespace") == NAMESPACE:
            meta["namespace"] = namespace
        if "Binding" in item["kind"]:
            meta["name"] += f"-{namespace}-{name}"
            item["subjects"] = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
        yield item


def _grant_toys(kube: Kube, namespace: str) -> None:
    meta = {"name": "toys", "namespace": namespace}
    kube.apply(
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": meta, "rules": TOY_RULES}, "tests"
    )
    binding: Json = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "toys"},
        "subjects": [{"kind": "ServiceAccount", "name": TOY, "namespace": namespace}],
    }
    kube.apply(binding, "tests")


def may(kube: Kube, who: str, right: Right, namespace: str = "", name: str = "") -> bool:
    """Whether `who` (namespace:account) has a right in a namespace, or anywhere ("")."""
    answer = kube.call("POST", REVIEWS, review(who, right, namespace, name))
    return bool(answer["status"]["allowed"])


def review(who: str, right: Right, namespace: str, name: str = "") -> Json:
    """What to post to REVIEWS for `may`."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {"group": right.group, "resource": resource, "subresource": subresource}
    attributes |= {"verb": right.verb, "namespace": namespace, "name": name}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{who}",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": attributes,
        },
    }


def _until_allowed(kube: Kube, namespace: str, name: str, *, narrowed: bool) -> None:
    """The API server hears of new roles a moment later."""
    asked = [Right("coordination.k8s.io", "leases", "create")]
    asked += [] if narrowed else [Right("everloop.dev", "trainingruns", "list")]
    asked += [Right("test.everloop.dev", "toys", "list")] if name == TOY else []
    for right in asked:
        eventually(
            lambda right=right: may(kube, f"{namespace}:{name}", right, namespace),
            20,
            f"no {right}",
        )


def _kubeconfig(kube: Kube, file: Path, token: str) -> Path:
    cluster = {"server": kube.server, "certificate-authority": str(kube.authority)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "account", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "account"}}],
        "current-context": "test",
    }
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    return file
