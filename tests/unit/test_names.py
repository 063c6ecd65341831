"""Names that we make of users' names: what Kubernetes takes, and never the name of another's child.

Users' names are built from the very words and numbers that we put behind them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from everloop.api.base import Resource
from everloop.api.experiment import Experiment
from everloop.api.monitor import Monitor
from everloop.api.trainingrun import TrainingRun
from everloop.manifests.experiment import trial_name
from everloop.manifests.retraining import decision_name, retraining_name, retraining_numbers
from everloop.manifests.router import router_name
from everloop.manifests.rules import rules_name
from everloop.manifests.scrape import scrape_name
from everloop.manifests.server import server_name
from everloop.manifests.trainingrun import config_name, report_name
from everloop.manifests.trainingrun_job import job_name
from everloop.manifests.trainingrun_version import version_name

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
WORDS = ["a", "b", "1", "2", "11", "v1", "v2", "config", "report", "rules", "decision", "router"]
# Those of one entry are of one kind in Kubernetes, or may be looked up among each other.
MADE: dict[str, list[Callable[[str, int], str]]] = {
    "ConfigMap": [
        lambda run, _: config_name(run),
        lambda run, _: report_name(run),
        lambda run, _: decision_name(run),
        lambda monitor, _: rules_name(monitor),
        lambda deployment, _: router_name(deployment),
    ],
    "Job": [job_name],
    "Deployment": [server_name, lambda deployment, _: router_name(deployment)],
    "PodMonitor": [lambda deployment, _: scrape_name(deployment)],
    "ModelVersion": [version_name],
    "TrainingRun of a search": [trial_name],
    "TrainingRun of a Monitor": [lambda monitor, number: retraining_name(monitor, number, 1)],
}
BY_CRD = (
    "ModelVersion",
    "TrainingRun of a Monitor",
)  # names that are never cut: parents' are short
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
    if made[0] == made[1]:
        assert one[:2] == other[:2], f"{one} and {other} both make {made[0]}"


@given(names, numbers)
def test_a_made_name_is_one_that_kubernetes_takes(parent: str, number: int) -> None:
    makers = [maker for kind, makers in MADE.items() if kind not in BY_CRD for maker in makers]
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
