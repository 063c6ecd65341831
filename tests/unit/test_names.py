"""Names that we make of users' names: what Kubernetes takes, and not the name of another's child.

Users' names are built from the very words and numbers that we put behind them. What happens where
two meet nevertheless (MAY_MEET) is in tests/unit/engine/test_meetings.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from everloop.api.base import Resource
from everloop.api.deployment import Deployment
from everloop.api.experiment import Experiment
from everloop.api.modelversion import Artifact
from everloop.api.monitor import Monitor
from everloop.api.trainingrun import TrainingRun
from everloop.manifests.experiment import trial_name
from everloop.manifests.network import RUNS, build_router_policy, build_server_policy
from everloop.manifests.retraining import decision_name, retraining_name, retraining_numbers
from everloop.manifests.router import build_client_service, router_name
from everloop.manifests.rules import rules_name
from everloop.manifests.scrape import scrape_name
from everloop.manifests.server import Served, server_name
from everloop.manifests.trainingrun import config_name, report_name
from everloop.manifests.trainingrun_job import job_name
from everloop.manifests.trainingrun_version import version_name
from everloop.plans.history import Record, Word, record_name

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
WORDS = [
    "a", "b", "1", "2", "11", "v1", "v2", "config", "report", "rules", "decision", "router",
    "servers", "promoted", "rejected",
]  # fmt: skip


def of_deployment(build: Callable[[Deployment], dict[str, Any]]) -> Callable[[str, int], str]:
    """The name that a builder gives to what a Deployment has once."""

    def made(deployment: str, _: int) -> str:
        spec = {"modelName": "m", "rollout": {"steps": [{"weight": 100}]}}
        owner = {"metadata": {"name": deployment, "namespace": "ml"}, "spec": spec}
        return str(build(Deployment.model_validate(owner))["metadata"]["name"])

    return made


def of_decision(word: Word) -> Callable[[str, int], str]:
    """The name of a decision about a version, which is the `number`-th of all."""
    served = Served("m-v1", 1, "m", Artifact(uri="s3://m", digest="sha256:" + "0" * 64))
    return lambda deployment, number: record_name(
        deployment, Record(word, number, served, "", "", "")
    )


def first_retraining(monitor: str, version: int) -> str:
    return retraining_name(monitor, version, 1)


CLIENT = of_deployment(build_client_service)  # the very name of the mldep
# Those of one entry are of one kind in Kubernetes.
MADE: dict[str, list[Callable[[str, int], str]]] = {
    "ConfigMap": [
        lambda run, _: config_name(run),
        lambda run, _: report_name(run),
        lambda monitor, _: rules_name(monitor),
        lambda deployment, _: router_name(deployment),
    ],
    "Job": [job_name],
    "Deployment": [server_name, lambda deployment, _: router_name(deployment)],
    "Service": [CLIENT, server_name],
    "PodDisruptionBudget": [server_name],
    "PodMonitor": [lambda deployment, _: scrape_name(deployment)],
    "PrometheusRule": [lambda monitor, _: rules_name(monitor)],
    "NetworkPolicy": [of_deployment(build_server_policy), of_deployment(build_router_policy)],
    "ControllerRevision": [
        lambda run, _: decision_name(run),
        of_decision("Promotion"),
        of_decision("Rejection"),
    ],
    "ModelVersion": [version_name],
    "TrainingRun": [trial_name, first_retraining],
}
# Here the children of two parents may have one name, each by another of the makers.
MAY_MEET = {
    "Service": {("a-v1", "a")},  # an mldep that is called like the servers of another one's version
    "TrainingRun": {("a-1", "a")},  # a search, like a Monitor with the number of a version
}
BY_CRD = (CLIENT, version_name, first_retraining)  # names that are never cut: parents' are short
confusing = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map("-".join)
# Longer ones than any kind admits: no builder relies on the CRD alone.
long_ones = st.text("ab-1", min_size=40, max_size=60).map(lambda text: f"a{text}z")
names = st.one_of(confusing, long_ones).filter(lambda name: name[0].isalpha())
numbers = st.integers(1, 99_999)


@pytest.mark.parametrize("kind", MADE)
@given(data=st.data())
def test_no_two_parents_make_one_name(kind: str, data: st.DataObject) -> None:
    one, other = (
        data.draw(st.tuples(st.sampled_from(range(len(MADE[kind]))), names, numbers))
        for _ in range(2)
    )
    made = [MADE[kind][maker](parent, number) for maker, parent, number in (one, other)]
    if made[0] == made[1] and not (kind in MAY_MEET and one[0] != other[0]):
        assert one[:2] == other[:2], f"{one} and {other} both make {made[0]}"


@pytest.mark.parametrize("kind", MADE)
def test_of_all_short_names_only_those_meet_that_may(kind: str) -> None:
    """And they do, else nothing would have to be told of them."""
    words = (each for count in (1, 2, 3) for each in product(WORDS, repeat=count))
    parents = [name for name in map("-".join, words) if name[0].isalpha()]
    first: dict[str, tuple[int, str]] = {}
    meetings = set()
    for maker, parent, number in product(range(len(MADE[kind])), parents, (1, 2, 11)):
        found = first.setdefault(MADE[kind][maker](parent, number), (maker, parent))
        if found != (maker, parent):
            assert found[0] != maker, f"{found[1]} and {parent}"
            meetings.add((found[1], parent))
    assert bool(meetings) is (kind in MAY_MEET), meetings
    assert meetings >= MAY_MEET.get(kind, set())


@given(names, numbers)
def test_no_deployments_policy_is_the_one_of_all_runs(deployment: str, number: int) -> None:
    assert RUNS not in {maker(deployment, number) for maker in MADE["NetworkPolicy"]}


@given(names, numbers)
def test_a_made_name_is_one_that_kubernetes_takes(parent: str, number: int) -> None:
    makers = [maker for makers in MADE.values() for maker in makers if maker not in BY_CRD]
    for made in (maker(parent, number) for maker in makers):
        assert DNS_LABEL.fullmatch(made), made


@pytest.mark.parametrize("kind", [Monitor, Experiment])
def test_the_longest_names_leave_room_for_what_is_put_behind_them(kind: type[Resource]) -> None:
    """A Monitor's run, a search's trial and their Jobs: each must be a name of its kind."""
    longest, most = "a" * kind.name_limit, 10**5 - 1
    made = retraining_name(longest, most, 9_999) if kind is Monitor else trial_name(longest, most)
    assert len(made) <= TrainingRun.name_limit
    assert DNS_LABEL.fullmatch(job_name("a" * TrainingRun.name_limit, 10))


@given(names, numbers, numbers)
def test_numbers_of_a_monitors_run_are_read_as_they_were_made(
    monitor: str, version: int, number: int
) -> None:
    name = retraining_name(monitor, version, number)
    assert retraining_numbers(monitor, name) == (version, number)


@given(names, names, numbers, numbers)
def test_a_run_is_not_taken_for_another_monitors(
    monitor: str, other: str, version: int, number: int
) -> None:
    assume(monitor != other)
    assert retraining_numbers(other, retraining_name(monitor, version, number)) is None
