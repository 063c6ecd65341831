"""What is read out of serving objects, and what routers answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from golden import FakeReader, FakeView
from samples import make_model_version

from everloop import contract
from everloop.handlers.deployment import KIND, observe, references
from everloop.handlers.deployment_reads import read_requested, read_routers, read_servers
from everloop.handlers.outside import Outside
from everloop.manifests.router_routes import weights_json
from everloop.plans.analysis import Stratum
from everloop.prometheus.client import PrometheusUnavailable, Sample
from everloop.settings import Settings
from everloop.statistics.score import Counts

ITEM: dict[str, Any] = {
    "apiVersion": "everloop.dev/v1alpha1",
    "kind": "Deployment",
    "metadata": {"name": "flights", "namespace": "ml", "uid": "uid-flights", "generation": 1},
    "spec": {"modelName": "flights", "rollout": {"steps": [{"weight": 10}, {"analysis": {}}]}},
    "status": {
        "champion": "flights-v1",
        "challenger": "flights-v2",
        "step": 1,
        "stepStarted": "2026-01-01T00:00:00Z",
    },
}


def labels(component: str, version: str | None = None) -> dict[str, str]:
    found = {contract.LABEL_COMPONENT: component, contract.LABEL_DEPLOYMENT: "flights"}
    return {**found, contract.LABEL_MODEL_VERSION: version} if version else found


def server(version: str, **fields: Any) -> dict[str, Any]:
    metadata = {
        "name": version,
        "namespace": "ml",
        "uid": f"uid-{version}",
        "labels": labels(contract.COMPONENT_SERVER, version),
        "annotations": fields.pop("annotations", {}),
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "status": fields}


def pod(version: str, created: str = "1", **container: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{version}-{created}",
            "labels": labels(contract.COMPONENT_SERVER, version),
            "creationTimestamp": created,
        },
        "status": {"containerStatuses": [{"ready": False, **container}]},
    }


def test_servers_short_of_ready_pods_know_since_when() -> None:
    down = [{"type": "Available", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    found = read_servers(
        [server("flights-v1", readyReplicas=2), server("flights-v2", conditions=down)], [], []
    )
    assert (found["flights-v1"].ready, found["flights-v1"].down_since) == (2, None)
    assert found["flights-v2"].down_since == datetime(2026, 1, 1, tzinfo=UTC)
    assert found["flights-v2"].number == 2


def test_a_service_whose_servers_are_gone_is_still_known() -> None:
    service = {**server("flights-v1"), "kind": "Service"}
    found = read_servers([], [service], [])
    assert (found["flights-v1"].uid, found["flights-v1"].service_uid) == (None, "uid-flights-v1")


def test_retirement_survives_a_restart_of_the_operator() -> None:
    marked = server("flights-v1", annotations={contract.ANNOTATION_RETIRED: "2026-01-01T00:00:00Z"})
    assert read_servers([marked], [], [])["flights-v1"].retired_at is not None


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, ""),
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}},
            "ImagePullBackOff not found",
        ),
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {
                    "terminated": {"message": '{"reason": "ArtifactMissing", "message": "gone"}'}
                },
            },
            "ArtifactMissing: gone",
        ),
        ({"state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled"}}},
         "OOMKilled"),
        ({"ready": True, "state": {"running": {}}}, ""),
    ],
)  # fmt: skip
def test_what_pods_say(container: dict[str, Any], words: str) -> None:
    found = read_servers([server("flights-v1")], [], [pod("flights-v1", **container)])
    assert found["flights-v1"].trouble == words


def test_the_newest_pod_has_the_say() -> None:
    pulling = {"state": {"waiting": {"reason": "ImagePullBackOff"}}}
    pods = [pod("flights-v1", "2", ready=True), pod("flights-v1", "1", **pulling)]
    assert read_servers([server("flights-v1")], [], pods)["flights-v1"].trouble == ""


def test_weights_asked_for_are_read_from_our_own_config_map_only() -> None:
    config = {
        "metadata": {"ownerReferences": [{"uid": "uid-flights"}]},
        "data": {"weights.json": weights_json({"flights-v1": 100})},
    }
    assert read_requested(config, ITEM) == {"flights-v1": 100}
    assert read_requested({**config, "metadata": {}}, ITEM) is None
    assert read_requested({**config, "data": {"weights.json": "by hand"}}, ITEM) is None
    assert read_requested(None, ITEM) is None


class Routers:
    """Answers by address; an exception is raised."""

    def __init__(self, answers: Mapping[str, str | Exception]) -> None:
        self._answers = answers

    async def get_text(self, url: str, timeout_seconds: float) -> str:
        answer = next(text for part, text in self._answers.items() if part in url)
        if isinstance(answer, Exception):
            raise answer
        return answer


def router(name: str, address: str, **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": labels(contract.COMPONENT_ROUTER),
            **fields,
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


async def test_routers_are_asked_and_one_that_is_leaving_is_not() -> None:
    http = Routers(
        {
            "[fd00::5]:9902/weights": weights_json({"flights-v1": 100}),
            "[fd00::5]:9902/stats": 'envoy_cluster_membership_healthy{envoy_cluster_name="x"} 1',
        }
    )
    pods = [router("a", "fd00::5"), router("b", "10.1.0.6", deletionTimestamp="now")]
    (found,) = await read_routers(pods, http)
    assert found.weights == {"flights-v1": 100}
    assert found.healthy == {"x"}


@pytest.mark.parametrize("answer", [OSError("refused"), TimeoutError(), "<html>"])
async def test_a_router_that_does_not_answer_is_no_reason_to_fail(answer: str | Exception) -> None:
    (found,) = await read_routers([router("a", "10.1.0.5")], Routers({"10.1.0.5": answer}))
    assert found.weights is None
    assert found.problem


class SlowOnce(Routers):
    """Does not answer the first question."""

    asked = 0

    async def get_text(self, url: str, timeout_seconds: float) -> str:
        self.asked += 1
        if self.asked == 1:
            raise TimeoutError
        return await super().get_text(url, timeout_seconds)


async def test_a_router_that_is_slow_once_is_asked_again() -> None:
    """Else traffic that nobody moves would look as if it moved, for one status."""
    http = SlowOnce({"/weights": weights_json({"flights-v1": 100}), "/stats": ""})
    (found,) = await read_routers([router("a", "10.1.0.5")], http)
    assert found.weights == {"flights-v1": 100}
    assert not found.problem


class NoPrometheus:
    async def query(self, promql: str, at: datetime | None = None) -> list[Any]:
        raise PrometheusUnavailable("no answer from http://prometheus:9090")


def outside(prometheus: Any, live: Sequence[Any] = ()) -> Outside:
    return Outside(
        settings=Settings(),
        kube=FakeReader(live),
        prometheus=prometheus,
        http=Routers({}),
        report_ca=str,
        wake=lambda _: None,
    )


async def test_a_prometheus_that_is_away_is_a_problem_that_passes() -> None:
    found = await observe(ITEM, FakeView([ITEM]), outside(NoPrometheus()))
    assert (found.evidence.lasting, found.evidence.stratum) == (False, None)
    assert "http://prometheus:9090" in found.evidence.problem


async def test_no_prometheus_at_all_is_a_problem_that_lasts() -> None:
    assert (await observe(ITEM, FakeView([ITEM]), outside(None))).evidence.lasting


async def test_prometheus_is_asked_in_analysis_steps_only() -> None:
    item = {**ITEM, "status": {**ITEM["status"], "step": 0}}
    found = await observe(item, FakeView([item]), outside(NoPrometheus()))
    assert found.evidence.problem == ""


@pytest.mark.parametrize("ready_by_now", [True, False])
async def test_a_challenger_that_seems_late_is_looked_at_before_it_is_rejected(
    ready_by_now: bool,
) -> None:
    def challenger(status: str) -> dict[str, Any]:
        found = server(
            "flights-v2",
            conditions=[
                {
                    "type": "Available",
                    "status": status,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ],
        )
        owner = {"controller": True, "uid": "uid-flights"}
        found["metadata"]["ownerReferences"] = [owner]
        return found

    seen, now = challenger("False"), challenger("True" if ready_by_now else "False")
    found = await observe(ITEM, FakeView([ITEM, seen]), outside(None, live=[now]))
    assert (found.servers["flights-v2"].down_since is None) == ready_by_now


def owned(item: dict[str, Any], by: str = "uid-flights") -> dict[str, Any]:
    references = [{"controller": True, "uid": by}]
    return {**item, "metadata": {**item["metadata"], "ownerReferences": references}}


SERVERS = owned(server("flights-v2", readyReplicas=1))
SERVICE = owned({**server("flights-v2"), "apiVersion": "v1", "kind": "Service"})
VERSION = make_model_version("flights", 2, "ml")
LEAVING = {**VERSION, "metadata": {**VERSION["metadata"], "deletionTimestamp": "now"}}


@pytest.mark.parametrize(
    ("seen", "live", "uid", "known"),
    [
        ([SERVICE, VERSION], [SERVERS], "uid-flights-v2", True),
        ([SERVICE, SERVERS], [VERSION], "uid-flights-v2", True),
        ([SERVICE], [SERVERS, VERSION], "uid-flights-v2", True),
        ([SERVICE], [], None, False),
        ([SERVICE, VERSION], [owned(SERVERS, "uid-of-another")], None, True),
        ([SERVICE, SERVERS], [LEAVING], "uid-flights-v2", False),
        (
            [SERVICE, SERVERS],
            [make_model_version("flights", 2, "ml", modelName="taxis")],
            "uid-flights-v2",
            False,
        ),
    ],
    ids=["servers", "version", "both", "gone", "another's", "leaving", "another model's"],
)
async def test_what_would_go_at_once_is_looked_for_before(
    seen: list[dict[str, Any]], live: list[dict[str, Any]], uid: str | None, known: bool
) -> None:
    """A new operator that was shown an old list deleted the Service of a challenger at work."""
    found = await observe(ITEM, FakeView([ITEM, *seen]), outside(None, live=live))
    assert found.servers["flights-v2"].uid == uid
    assert (found.served("flights-v2") is not None) == known


async def test_also_what_watches_tell_of_while_it_is_looked_for() -> None:
    """Else the servers came into view without their version, between two looks."""
    pod = router("a", "10.1.0.5", namespace="ml")
    seen = [ITEM, pod]

    class Telling(Routers):
        async def get_text(self, url: str, timeout_seconds: float) -> str:
            seen.append(SERVICE)
            return await super().get_text(url, timeout_seconds)

    live = FakeReader([VERSION, SERVERS])
    around = replace(outside(None), kube=live, http=Telling({"10.1.0.5": OSError("slow")}))
    found = await observe(ITEM, FakeView(seen), around)
    assert found.servers["flights-v2"].uid == "uid-flights-v2"
    assert found.served("flights-v2") is not None


class Answers:
    """A Prometheus in which the champion has answers only up to the beginning of the step."""

    async def query(self, promql: str, at: datetime | None = None) -> list[Sample]:
        before = at == datetime(2026, 1, 1, tzinfo=UTC)
        name, count = ("flights-v1", 900.0) if before else ("flights-v2", 300.0)
        labels = {"envoy_cluster_name": name, "envoy_response_code_class": "2"}
        return [Sample(labels, count, 0.0)]


async def test_at_all_the_traffic_the_champion_is_judged_by_the_time_before_the_step() -> None:
    found = await observe(ITEM, FakeView([ITEM]), outside(Answers()))
    assert found.evidence.stratum == Stratum(Counts(300, 0), Counts(0, 0))
    spec = {**ITEM["spec"], "rollout": {"steps": [{"weight": 100}, {"analysis": {}}]}}
    item = {**ITEM, "spec": spec}
    found = await observe(item, FakeView([item]), outside(Answers()))
    assert found.evidence.stratum == Stratum(Counts(300, 0), Counts(900, 0))


def test_a_version_that_appears_wakes_its_deployments() -> None:
    found = list(references({**ITEM, "spec": {**ITEM["spec"], "versions": [
        {"modelVersion": "flights-v9", "weight": 100}]}}))  # fmt: skip
    assert {(ref.kind, ref.name, ref.model) for ref in found} == {
        ("ModelVersion", None, "flights"),
        ("ModelVersion", "flights-v9", None),
    }
    assert KIND.resource.kind == "Deployment"
