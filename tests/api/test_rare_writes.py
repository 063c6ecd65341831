"""What an operator seldom writes: suspensions, removals, a new authority, a router's annotation.

Each is one of the chart's rules, and has to be seen once for the rule to stay.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from kube import Json, Kube, ref
from live import ask
from operator_process import EVERLOOP, OperatorProcess, eventually
from samples import (
    make_deployment,
    make_experiment,
    make_model_version,
    make_monitor,
    make_promotion,
    make_training_run,
)

from everloop import contract
from everloop.intake import report_ca
from everloop.manifests.network import RUNS

SUSPEND = {"spec": {"suspend": True}}
RULES = {
    "PrometheusRule": ("monitoring.coreos.com/v1", "watch-rules"),
    "ConfigMap": ("v1", "watch-rules"),
}


def rules(namespace: str, kind: str) -> Json:
    api_version, name = RULES[kind]
    return ref(api_version, kind, namespace, name)


def policy(namespace: str, name: str) -> Json:
    return ref("networking.k8s.io/v1", "NetworkPolicy", namespace, name)


def serve(kube: Kube, namespace: str) -> Json:
    """A Deployment with a champion, and its Monitor."""
    version = make_model_version("flights", 1, namespace)
    deployment = make_deployment("flights", namespace, modelName="flights")
    for item in (
        make_promotion(deployment, version),
        version,
        deployment,
        make_monitor("watch", namespace, "flights"),
    ):
        kube.create(item)
    return deployment


def test_suspension_reaches_jobs_and_trials(kube: Kube, namespace: str, start: Any) -> None:
    operator: OperatorProcess = start(EVERLOOP)
    run = make_training_run("run", namespace)
    search = make_experiment("search", namespace)
    kube.create(run)
    kube.create(search)
    job = ref("batch/v1", "Job", namespace, "run-1")
    eventually(lambda: kube.get(job), 30, f"no Job. {operator.tail()}")

    def trials() -> list[Json]:
        found = kube.list(contract.API_VERSION, "trainingruns", namespace)
        return [item for item in found if item["metadata"].get("ownerReferences")]

    eventually(trials, 20, "no trial")
    kube.merge(run, SUSPEND)
    kube.merge(search, SUSPEND)
    eventually(lambda: (kube.get(job) or {})["spec"]["suspend"], 10, "the Job goes on")
    eventually(lambda: all(item["spec"]["suspend"] for item in trials()), 10, "a trial goes on")


def test_rules_change_their_kind_and_go_with_the_champion(
    kube: Kube, namespace: str, start: Any
) -> None:
    without: OperatorProcess = start(EVERLOOP, prometheus_operator="false")
    deployment = serve(kube, namespace)
    eventually(lambda: kube.get(rules(namespace, "ConfigMap")), 30, "no rules as a ConfigMap")
    without.stop()
    start(EVERLOOP, identity="replica-2").wait_leading()
    eventually(lambda: kube.get(rules(namespace, "PrometheusRule")), 30, "no PrometheusRule")
    eventually(lambda: kube.get(rules(namespace, "ConfigMap")) is None, 10, "the old rules stay")
    kube.delete(deployment)
    eventually(lambda: kube.get(rules(namespace, "PrometheusRule")) is None, 20, "rules stay")


def test_network_policies_are_put_right_and_taken_back(
    kube: Kube, namespace: str, start: Any
) -> None:
    operator: OperatorProcess = start(EVERLOOP)
    serve(kube, namespace)
    kube.create(make_training_run("run", namespace))
    names = (RUNS, "flights-servers", "flights-router")
    for name in names:
        here = policy(namespace, name)
        before = eventually(lambda here=here: kube.get(here), 30, f"no {name}")
        kube.merge(here, {"spec": {"policyTypes": ["Egress"]}})
        eventually(
            lambda here=here, spec=before["spec"]: (kube.get(here) or {})["spec"] == spec,
            5,
            f"the hand's {name} stays",
        )
        kube.delete(here)
        eventually(lambda here=here: kube.get(here), 5, f"{name} does not come back")
    operator.stop()
    start(EVERLOOP, identity="replica-2", network_policies="false").wait_leading()
    for name in names:
        here = policy(namespace, name)
        eventually(lambda here=here: kube.get(here) is None, 20, f"{name} stays")


def test_what_a_hand_deletes_is_looked_for_and_made_again(
    kube: Kube, namespace: str, start: Any
) -> None:
    """It may have lost no more than its label, so it is read before it counts as gone."""
    start(EVERLOOP)
    deployment = serve(kube, namespace)
    kube.merge(deployment, {"spec": {"runtime": {"replicas": 2}}})
    for item in (
        ref("apps/v1", "Deployment", namespace, "flights-v1"),
        ref("v1", "Service", namespace, "flights-v1"),
        ref("policy/v1", "PodDisruptionBudget", namespace, "flights-v1"),
        ref("v1", "ConfigMap", namespace, "flights-router"),
        ref("monitoring.coreos.com/v1", "PodMonitor", namespace, "flights-scrape"),
        rules(namespace, "PrometheusRule"),
    ):
        uid = eventually(lambda item=item: kube.get(item), 30, f"no {item}")["metadata"]["uid"]
        kube.delete(item)

        def another(item: Json = item, uid: str = uid) -> bool:
            return ((kube.get(item) or {}).get("metadata") or {"uid": uid})["uid"] != uid

        eventually(another, 10, f"{item} does not come back")


def test_servers_of_a_challenger_that_was_overtaken_go(
    kube: Kube, namespace: str, start: Any
) -> None:
    start(EVERLOOP)
    serve(kube, namespace)
    made = [
        ref("apps/v1", "Deployment", namespace, "flights-v2"),
        ref("v1", "Service", namespace, "flights-v2"),
    ]
    kube.create(make_model_version("flights", 2, namespace))
    for item in made:
        eventually(lambda item=item: kube.get(item), 30, "no challenger")
    kube.create(make_model_version("flights", 3, namespace))
    for item in made:
        eventually(lambda item=item: kube.get(item) is None, 40, f"{item['kind']} stays")


def decisions(kube: Kube, namespace: str) -> list[Json]:
    found = kube.list("apps/v1", "controllerrevisions", namespace)
    return [item for item in found if item["metadata"]["labels"].get(contract.LABEL_MONITOR)]


def test_what_a_person_asks_for_is_recorded(kube: Kube, namespace: str, start: Any) -> None:
    """A run from the champion's spec, and the decision for it."""
    operator: OperatorProcess = start(EVERLOOP)
    monitor = ask(kube, namespace)
    eventually(
        lambda: decisions(kube, namespace),
        30,
        f"no decision: {kube.get(monitor)} {operator.tail()}",
    )
    (made,) = kube.list(contract.API_VERSION, "trainingruns", namespace)
    assert made["metadata"]["labels"][contract.LABEL_MONITOR] == "watch"


def test_copies_of_a_monitors_run_are_nobodys(kube: Kube, namespace: str, start: Any) -> None:
    """Its own has its record again after somebody deleted it; copies get none, and stop nothing."""
    operator: OperatorProcess = start(EVERLOOP)
    ask(kube, namespace)
    (record,) = eventually(lambda: decisions(kube, namespace), 30, "no decision")
    (made,) = kube.list(contract.API_VERSION, "trainingruns", namespace)
    kept = {key: made["metadata"][key] for key in ("labels", "annotations", "namespace")}
    for name in ("watch-1-mine", "watch-1-2"):
        run = {"apiVersion": contract.API_VERSION, "kind": "TrainingRun", "spec": made["spec"]}
        kube.create({**run, "metadata": {**kept, "name": name}})
    kube.delete(ref("apps/v1", "ControllerRevision", namespace, record["metadata"]["name"]))
    eventually(lambda: decisions(kube, namespace), 30, f"none comes back: {operator.tail()}")
    operator.wait_idle()
    (again,) = decisions(kube, namespace)
    assert again["metadata"]["name"] == record["metadata"]["name"] == "watch-1-1-decision"
    assert "the pass failed" not in operator.tail()


def test_replicas_have_a_budget_while_there_are_several(
    kube: Kube, namespace: str, start: Any
) -> None:
    start(EVERLOOP)
    deployment = serve(kube, namespace)
    eventually(lambda: kube.get(ref("v1", "Service", namespace, "flights-v1")), 30, "no server")
    budget = ref("policy/v1", "PodDisruptionBudget", namespace, "flights-v1")
    assert kube.get(budget) is None
    kube.merge(deployment, {"spec": {"runtime": {"replicas": 2}}})
    made = eventually(lambda: kube.get(budget), 10, "no budget")
    kube.merge(budget, {"spec": {"maxUnavailable": 2}})
    wanted = made["spec"]
    eventually(lambda: (kube.get(budget) or {})["spec"] == wanted, 5, "the hand's stays")
    kube.merge(deployment, {"spec": {"runtime": {"replicas": 1}}})
    eventually(lambda: kube.get(budget) is None, 10, "the budget stays, and stops every drain")


def test_a_policy_of_somebody_else_for_runs_is_left_alone(
    kube: Kube, namespace: str, start: Any
) -> None:
    stricter = policy(namespace, RUNS)
    stricter["spec"] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    before = kube.create(stricter)
    operator: OperatorProcess = start(EVERLOOP)
    kube.create(make_training_run("run", namespace))
    eventually(lambda: kube.get(ref("batch/v1", "Job", namespace, "run-1")), 30, "no Job")
    operator.wait_idle()
    after = kube.get(stricter) or {}
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_an_old_authority_gets_a_successor(kube: Kube, namespace: str, start: Any) -> None:
    """With two years to go, so that runs know it long before it signs."""
    near = report_ca.AUTHORITY_LIFE - 2 * report_ca.LONGEST_RUN + timedelta(days=1)
    authority = report_ca.make_authority(1, datetime.now(UTC) - near)
    secret = ref("v1", "Secret", namespace, "everloop-report-ca")
    kube.create(secret | {"data": report_ca.write(authority)})
    start(EVERLOOP).wait_leading()
    eventually(lambda: "ca-2.crt" in (kube.get(secret) or {})["data"], 20, "no successor")


def test_a_routers_pod_is_told_to_look(kube: Kube, namespace: str, start: Any) -> None:
    start(EVERLOOP)
    serve(kube, namespace)
    router = ref("apps/v1", "Deployment", namespace, "flights-router")
    made = eventually(lambda: kube.get(router), 30, "no router")
    template = made["spec"]["template"]
    pod = ref("v1", "Pod", namespace, "flights-router-x")
    meta = pod["metadata"] | {"labels": template["metadata"]["labels"]}
    kube.create(pod | {"metadata": meta, "spec": template["spec"]})
    kube.merge(pod, {"status": {"phase": "Running"}}, "status")

    def told() -> bool:
        found = (kube.get(pod) or {})["metadata"].get("annotations") or {}
        return contract.ANNOTATION_SYNC in found

    eventually(told, 20, "no annotation")
