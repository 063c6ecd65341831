"""What users' code exports, scraped by a real Prometheus: nobody speaks for anybody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scraping import Pod, Scraping, scraping

from everloop import contract
from everloop.api.deployment import Deployment
from everloop.manifests.router import router_labels
from everloop.manifests.router_routes import STATS_PATH
from everloop.manifests.scrape import build_pod_monitor
from everloop.manifests.server import server_labels
from everloop.settings import Settings

LIE = 666
VICTIM = 'namespace="victim",deployment="flights",model_version="flights-v1"'
BINS = 'side="input",feature="dewp",bin="0"'
FAILED = 'envoy_response_code_class="5"'
MINE = Deployment.model_validate(
    {
        "metadata": {"name": "mine", "namespace": "attacker", "uid": "u"},
        "spec": {"modelName": "mine", "rollout": {"steps": [{"weight": 100}]}},
    }
)
# Names, labels and leftovers of labels that some query, rule or alert selects by.
HOSTILE = f"""\
everloop_requests_total{{deployment="mine",model_version="mine-v1"}} 7
everloop_bin_rows_total{{{VICTIM},{BINS}}} {LIE}
everloop_bin_rows_total{{exported_namespace="victim",exported_deployment="flights",{BINS}}} {LIE}
everloop_model_info{{{VICTIM},job="victim/flights-scrape",instance="10.0.0.1:8082",digest="x"}} 1
everloop_errors_total{{deployment="mine",model_version="mine-v2"}} {LIE}
envoy_cluster_upstream_rq_xx{{{VICTIM},envoy_cluster_name="flights-v2",{FAILED}}} {LIE}
envoy_cluster_upstream_rq_xx{{envoy_cluster_name="mine-v1",{FAILED}}} {LIE}
everloop_operator_leader{{job="everloop-system/everloop",namespace="everloop-system",pod="a"}} 1
everloop:drift:over{{everloop_namespace="victim",everloop_monitor="flights"}} 1
ALERTS{{alertname="EverloopInputDrift",everloop_namespace="victim",alertstate="firing"}} 1
up{{namespace="victim",deployment="flights"}} 0
"""
ROUTED = """\
envoy_cluster_upstream_rq_xx{envoy_cluster_name="mine-v1",envoy_response_code_class="2"} 41
envoy_cluster_upstream_cx_total{envoy_cluster_name="mine-v1"} 3
"""


def pods() -> Iterator[Pod]:
    server = {
        contract.LABEL_COMPONENT: contract.COMPONENT_SERVER,
        **server_labels(MINE, "mine-v1"),
    }
    yield Pod("server", server, "/metrics", HOSTILE)
    router = {contract.LABEL_COMPONENT: contract.COMPONENT_ROUTER, **router_labels(MINE)}
    yield Pod("router", router, STATS_PATH, ROUTED)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraping]:
    monitor = build_pod_monitor("attacker", "mine", Settings(scrape_interval_seconds=1))
    with scraping(monitor, list(pods()), tmp_path_factory.mktemp("prometheus")) as prometheus:
        yield prometheus


def test_every_series_is_about_the_pod_that_it_came_from(scraped: Scraping) -> None:
    found = scraped.series()
    assert {
        (item["namespace"], item["deployment"], item.get("model_version"), item["job"], item["pod"])
        for item in found
    } == {
        ("attacker", "mine", "mine-v1", "attacker/mine-scrape", "server"),
        ("attacker", "mine", None, "attacker/mine-scrape", "router"),
    }
    assert not [name for item in found for name in item if name.startswith("exported_")]


def test_only_what_a_server_has_to_say_is_kept_of_it(scraped: Scraping) -> None:
    names = {item["__name__"] for item in scraped.series() if item["pod"] == "server"}
    own = {name for name in names if not name.startswith("scrape_")}
    assert own == {
        "up",
        contract.METRIC_REQUESTS,
        contract.METRIC_ERRORS,
        contract.METRIC_BINS,
        contract.METRIC_MODEL_INFO,
    }


def test_what_honest_pods_say_is_there(scraped: Scraping) -> None:
    place = 'namespace="attacker", deployment="mine"'
    assert scraped.value(f'everloop_requests_total{{{place}, model_version="mine-v1"}}') == 7
    routed = f'envoy_cluster_upstream_rq_xx{{{place}, envoy_cluster_name="mine-v1"}}'
    assert scraped.value(routed) == 41
    assert scraped.value(f'sum(up{{{place}, model_version=~"mine-v1|"}})') == 2


@pytest.mark.parametrize(
    "selector",
    [
        'everloop_bin_rows_total{namespace="victim"}',
        'envoy_cluster_upstream_rq_xx{namespace="victim"}',
        f"envoy_cluster_upstream_rq_xx{{{FAILED}}}",
        'everloop_errors_total{model_version="mine-v2"}',
        "everloop_operator_leader",
        'up{job="everloop-system/everloop"}',
        "everloop:drift:over",
        "ALERTS",
    ],
)
def test_nothing_answers_for_anybody_else(scraped: Scraping, selector: str) -> None:
    assert scraped.value(selector) is None
