"""Least privilege: what the chart grants is what is used, for each profile of its values.

Every operator of the tier has the chart's rights and no others. The last test of this file runs as
the last of the tier, and holds the audit log against `support/rights-used.yaml`; the end-to-end
tier does the same with the dev cluster's (tests/e2e/test_rights.py).
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chart import CHART, NAMESPACE, of_kind, rendered
from crds import all_crds
from devcluster.control_plane_only import ControlPlane
from doors import Doors, make_pod_of, token_of
from kube import Json, Kube, ref
from operator_process import EVERLOOP, OperatorProcess, eventually
from rights import (
    ACCOUNT,
    EVERYWHERE,
    OWN,
    RARE,
    Grant,
    Right,
    account,
    granted,
    judge,
    may,
    recorded,
    usage,
    whole,
)
from runs import make_report
from samples import make_deployment, make_model_version, make_monitor, make_training_run

from everloop import contract
from everloop.manifests.trainingrun import config_name

MONITORING = "monitoring.coreos.com"
POLICIES = ("networking.k8s.io", "networkpolicies")
PROFILES: dict[str, tuple[str, ...]] = {
    "cluster-wide": (),
    "namespaced": ("--set", "watchNamespaces={team-a,team-b}"),
    "without-prometheus-operator": ("--set", "prometheus.operator=false"),
    "without-network-policies": ("--set", "networkPolicies.enabled=false"),
    "everything-set": (
        *("--set", "webhook.existingSecret=hook", "--set", "prometheus.url=http://prometheus:9090"),
        *("--set", "replicas=1", "--set", "clock.speedup=60", "--set", "caBundle.configMap=ca"),
    ),
}


def needed(profile: str) -> set[Grant]:
    """Of what was ever used, what this profile uses, and where.

    What a profile does without is said here, and not by a record of its own: it takes all of the
    tier's tests to use every rule once, and would take them again for each profile. Of those that
    grant less, a test below runs an operator: it is refused nothing, follows all that it may, and
    uses all of a rule that is another one there. Else the profiles' rules are the same.
    """
    used = recorded().keys() | RARE.keys()
    if profile == "without-prometheus-operator":
        used = {right for right in used if right.group != MONITORING}
    if profile == "without-network-policies":
        used = used - {Right(*POLICIES, verb) for verb in ("create", "patch")}
    places = ("team-a", "team-b") if profile == "namespaced" else (EVERYWHERE,)
    own = {Grant(right, NAMESPACE, names) for right, names in OWN.items() if right in used}
    return own | {Grant(right, place) for right in used - OWN.keys() for place in places}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_chart_grants_exactly_what_is_used(profile: str) -> None:
    found = granted(rendered(*PROFILES[profile]))
    assert sorted(map(str, found - needed(profile))) == [], "granted, and never used"
    assert sorted(map(str, needed(profile) - found)) == [], "used, and not granted"


def test_each_value_that_changes_the_rules_has_a_profile() -> None:
    files = [CHART / "templates" / name for name in ("_rules.tpl", "rbac.yaml")]
    values = {
        name for file in files for name in re.findall(r"\.Values\.([\w.]+)", file.read_text())
    }
    assert len(values) == 3
    set_ = " ".join(argument for profile in PROFILES.values() for argument in profile)
    assert [name for name in sorted(values) if f"{name}=" not in set_] == []


def test_what_is_on_record_is_not_called_rare() -> None:
    """So exceptions only become fewer: what a recorded run has met, a test can meet each time."""
    assert sorted(str(right) for right in recorded().keys() & RARE.keys()) == []


@pytest.mark.parametrize("profile", PROFILES)
def test_no_rule_is_a_wildcard_and_secrets_are_by_name(profile: str) -> None:
    """POST needs no name, since an object that is made has none to compare."""
    for role in of_kind(rendered(*PROFILES[profile]), "Role", "ClusterRole"):
        for rule in role["rules"]:
            assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]
            if "secrets" in rule["resources"]:
                assert role["metadata"]["name"] == "everloop-self"
                named = rule.get("resourceNames") == ["everloop-report-ca"]
                assert (named and rule["verbs"] == ["get", "patch"]) or rule["verbs"] == ["create"]


def test_a_namespaced_install_has_nothing_cluster_wide() -> None:
    objects = rendered(*PROFILES["namespaced"], "--set", "crds.enabled=false")
    assert {item["kind"] for item in objects} & {"ClusterRole", "ClusterRoleBinding"} == set()
    for item in objects:
        assert item["metadata"].get("namespace"), f"{item['kind']} has no namespace"
    places = {
        item["metadata"]["namespace"]
        for item in of_kind(objects, "RoleBinding")
        if item["metadata"]["name"] == "everloop"
    }
    assert places == {"team-a", "team-b"}


@pytest.fixture
def team(kube: Kube, namespace: str) -> str:
    """A namespace that is reconciled and is not the operator's."""
    return kube.namespace(f"{namespace[:34]}-team")


def operator(
    kube: Kube, folder: Path, namespace: str, values: tuple[str, ...], **settings: Any
) -> OperatorProcess:
    """An operator with the rights of a profile."""
    kubeconfig = account(kube, folder, namespace, values=values)
    fields = {"namespace": namespace, "watch_namespaces": namespace} | settings
    return OperatorProcess(kubeconfig, folder / "operator.log", command=EVERLOOP, **fields)


def work(kube: Kube, namespace: str) -> None:
    """A run, a Deployment that serves and its Monitor: each has what it makes."""
    version = make_model_version("flights", 1, namespace)
    run = make_training_run("run", namespace)
    deployment = make_deployment("flights", namespace, modelName="flights")
    monitor = make_monitor("watch", namespace, "flights", absence={"for": "1m"})
    for item in (version, run, deployment, monitor):
        kube.create(item)
    eventually(lambda: kube.get(ref("batch/v1", "Job", namespace, "run-1")), 20, "no Job")
    for name in ("flights-v1", "flights-router"):
        server = ref("apps/v1", "Deployment", namespace, name)
        eventually(lambda server=server: kube.get(server), 20, f"no {name}")
    eventually(lambda: _settled(kube, monitor), 20, "the Monitor has no status")


def _settled(kube: Kube, item: Json) -> bool:
    return ((kube.get(item) or {}).get("status") or {}).get("observedGeneration") == 1


def test_a_namespaced_operator_works_with_roles_alone(
    kube: Kube, plane: ControlPlane, namespace: str, team: str, tmp_path: Path
) -> None:
    values = ("--set", f"watchNamespaces={{{team}}}")
    with operator(kube, tmp_path, namespace, values, watch_namespaces=team) as running:
        running.wait_leading()
        work(kube, team)
        running.wait_idle()
    assert plane.audit_log is not None
    seen = usage([plane.audit_log], namespace=namespace)
    assert seen.refused == frozenset()
    assert followed(*values) - seen.used == set()
    assert seen.everywhere == frozenset()
    who = f"{namespace}:{ACCOUNT}"
    jobs = Right("batch", "jobs", "list")
    assert may(kube, who, jobs, team)
    assert not may(kube, who, jobs)
    assert not may(kube, who, jobs, namespace)
    assert not may(kube, who, jobs, "default")


def test_without_rights_to_the_prometheus_operator(
    kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """Its CRDs are there, and are left alone: rules are a ConfigMap."""
    values = ("--set", "prometheus.operator=false", "--set", f"watchNamespaces={{{namespace}}}")
    with operator(kube, tmp_path, namespace, values, prometheus_operator="false") as running:
        running.wait_leading()
        work(kube, namespace)
        running.wait_idle()
    assert plane.audit_log is not None
    seen = usage([plane.audit_log], namespace=namespace)
    assert seen.refused == frozenset()
    assert followed(*values) - seen.used == set()
    assert not [right for right in seen.used if right.group == MONITORING]


def test_without_rights_to_make_network_policies(
    kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """As by an upgrade that switches them off: those that are there go, and no more are made."""
    watched = ("--set", f"watchNamespaces={{{namespace}}}")
    with operator(kube, tmp_path, namespace, watched) as running:
        running.wait_leading()
        work(kube, namespace)
        eventually(lambda: len(_policies(kube, namespace)) == 3, 20, "no policies")
        running.wait_idle()
    values = (*watched, "--set", "networkPolicies.enabled=false")
    narrowed = operator(kube, tmp_path, namespace, values, network_policies="false")
    for verb in ("create", "patch"):
        right, who = Right(*POLICIES, verb), f"{namespace}:{ACCOUNT}"
        eventually(
            lambda right=right, who=who: not may(kube, who, right, namespace), 20, str(right)
        )
    with narrowed as running:
        running.wait_leading()
        eventually(lambda: _policies(kube, namespace) == [], 20, "policies stay")
        kube.create(make_training_run("later", namespace))
        job = ref("batch/v1", "Job", namespace, "later-1")
        eventually(lambda: kube.get(job), 20, "no Job")
        running.wait_idle()
    assert _policies(kube, namespace) == []
    assert plane.audit_log is not None
    seen = usage([plane.audit_log], namespace=namespace)
    assert seen.refused == frozenset()
    left = {grant.right for grant in granted(rendered(*values))}
    policies = {right for right in left if (right.group, right.resource) == POLICIES}
    assert (followed(*values) | policies) - seen.used == set()


def _policies(kube: Kube, namespace: str) -> list[Json]:
    return kube.list("networking.k8s.io/v1", "networkpolicies", namespace)


def test_the_default_profile_works_in_the_whole_cluster(tmp_path: Path) -> None:
    """It carries a run of any namespace from its start to its version.

    On a cluster of its own, where to name an owner is a right, as on OpenShift: this is what the
    rights to finalizers are for.
    """
    log = tmp_path / "audit.log"
    plugin = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement"
    plane = ControlPlane(f"wide-{os.getpid()}", audit_log=log, flags=[plugin])
    plane.start()
    try:
        kube = Kube(plane.kubeconfig)
        kube.install(all_crds())
        namespace, team = kube.namespace("system"), kube.namespace("team")
        with operator(kube, tmp_path, namespace, (), watch_namespaces="") as running:
            running.wait_leading()
            work(kube, team)
            register(running, kube, plane, team)
            running.wait_idle()
        seen = usage([log])
    finally:
        plane.stop()
    assert seen.refused == frozenset()
    assert seen.everywhere == followed()


def register(running: OperatorProcess, kube: Kube, plane: ControlPlane, namespace: str) -> None:
    """A run, whose pod reports as the runner does, and its version."""
    doors = Doors(running, kube, plane, "", namespace)
    run, pod = make_pod_of(doors, "reported")
    config = kube.get(ref("v1", "ConfigMap", namespace, config_name("reported"))) or {}
    doors = replace(doors, ca=config["data"][contract.CA_NAME])
    report = make_report(run, namespace=namespace)
    url = doors.report_url("reported")
    assert asyncio.run(doors.post(url, token_of(kube, pod), report))[0] == 200
    model = run["spec"]["modelName"]
    version = ref(contract.API_VERSION, "ModelVersion", namespace, f"{model}-v1")
    eventually(lambda: kube.get(version), 20, "no ModelVersion")


def followed(*values: str) -> set[Right]:
    """A profile's lists and watches of all that is watched."""
    rights = {grant.right for grant in granted(rendered(*values))}
    watches = {right for right in rights if right.verb == "watch"}
    return watches | {replace(right, verb="list") for right in watches}


@pytest.mark.parametrize("verb", ["get", "list", "watch", "create", "update", "patch", "delete"])
def test_secrets_of_users_are_out_of_reach(
    kube: Kube, namespace: str, tmp_path: Path, verb: str
) -> None:
    """In its own namespace it may create, as it has to create the one that is its own."""
    account(kube, tmp_path, namespace)
    who = f"{namespace}:{ACCOUNT}"
    secrets = Right("", "secrets", verb)
    if verb != "create":
        assert not may(kube, who, secrets, namespace, "store-credentials")
    assert not may(kube, who, secrets, "default", "store-credentials")
    assert not may(kube, who, secrets, "default")
    assert not may(kube, who, secrets)


def test_what_the_tier_used_is_what_was_recorded(
    plane: ControlPlane, request: pytest.FixtureRequest
) -> None:
    """Runs last (see conftest.py)."""
    assert plane.audit_log is not None
    update = bool(os.environ.get("UPDATE_RIGHTS"))
    complete = whole(request.session, Path(__file__).parent)
    judge("api", usage([plane.audit_log]), update=update, complete=complete)
