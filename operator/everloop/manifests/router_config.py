"""Envoy configuration of a Deployment's router: listeners, clusters and routes as files.

The router watches the folder its ConfigMap is mounted on, so a weight that changes in the
ConfigMap changes traffic with no restart and no dropped request. Clusters bear the names of
ModelVersions: that is how Envoy's counters say which version answered.

Two listeners: one for clients, and one that is read-only, for Prometheus and for the operator,
which reads back the weights in force. The admin interface, which can do more than read, is a unix
socket inside the pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everloop import contract
from everloop.manifests.router_routes import (
    ADMIN_CLUSTER,
    CLIENT_LISTENER,
    LISTENER_HEADER,
    ROUTE_TABLE,
    STATS_PATH,
    STATUS_LISTENER,
    TYPE,
    route_table,
    weights_json,
)

Dict = dict[str, Any]

BOOTSTRAP, LISTENERS, CLUSTERS, ROUTES = "envoy.json", "lds.json", "cds.json", "rds.json"
WEIGHTS = "weights.json"  # not read by Envoy: what the operator asked for last, for itself
HEALTH_QUERY = f"{STATS_PATH}?filter=membership_healthy"  # endpoints that answer, per version
HEALTH_SERIES = "envoy_cluster_membership_healthy"

READY_PATH = "/v2/health/ready"
HCM = f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
STATS = (
    r"cluster\.[^.]+\.(upstream_rq_([1-5]xx|time|active|total|retry|timeout|pending_overflow)"
    r"|upstream_cx_(active|connect_fail)|membership_(healthy|total))",
    r"http\.router\.downstream_(rq_([1-5]xx|active|time)|cx_active)",
    r".*\.update_rejected",
    r"server\.(uptime|live|memory_allocated)",
)
DNS_REFRESH = "2s"
CONNECT = "1s"  # to a server; four times as long until a request to one that vanished is answered
CONNECTION_AGE = "4s"  # of a client's, at most; well below the time that a router takes to leave


@dataclass(frozen=True)
class Place:
    """Where a router's files, ports and admin socket are; the defaults are those of the pod."""

    folder: str = "/etc/everloop-router"
    admin_socket: str = "/tmp/envoy-admin.sock"
    address: str = "0.0.0.0"
    http_port: int = contract.ROUTER_HTTP_PORT
    status_port: int = contract.ROUTER_STATUS_PORT


IN_POD = Place()


@dataclass(frozen=True)
class Endpoint:
    """Where the servers of one version are: a headless Service of the same namespace."""

    version: str
    host: str
    port: int = contract.SERVER_HTTP_PORT


def router_files(
    deployment: str,
    endpoints: Sequence[Endpoint],
    weights: Mapping[str, int],
    place: Place = IN_POD,
) -> dict[str, str]:
    """All files of a router. `weights` sum to 100, or are empty while nothing can serve."""
    if weights and sum(weights.values()) != 100:
        raise ValueError(f"weights must sum to 100: {dict(weights)}")
    unknown = set(weights) - {endpoint.version for endpoint in endpoints}
    if unknown:
        raise ValueError(f"weights for versions without endpoints: {sorted(unknown)}")
    return {
        BOOTSTRAP: _json(bootstrap(deployment, place)),
        LISTENERS: _json({"resources": listeners(place)}),
        CLUSTERS: _json({"resources": [cluster(endpoint) for endpoint in endpoints]}),
        ROUTES: _json(
            {"resources": [route_table([endpoint.version for endpoint in endpoints], weights)]}
        ),
        WEIGHTS: weights_json(weights),
    }


def bootstrap(deployment: str, place: Place) -> Dict:
    """The static part; a change of it needs a new pod."""
    return {
        "node": {"id": f"{deployment}-router", "cluster": deployment},
        "admin": {"address": {"pipe": {"path": place.admin_socket, "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": _from_file(place, LISTENERS),
            "cds_config": _from_file(place, CLUSTERS),
        },
        "static_resources": {
            "clusters": [
                {
                    "name": ADMIN_CLUSTER,
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": _assignment(
                        ADMIN_CLUSTER, {"pipe": {"path": place.admin_socket}}
                    ),
                }
            ]
        },
        # Every series costs Prometheus memory: only what analysis, monitors and people read.
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {
                    "patterns": [{"safe_regex": {"regex": pattern}} for pattern in STATS]
                }
            }
        },
    }


def listeners(place: Place) -> list[Dict]:
    """The clients' listener and the read-only one."""
    return [
        _listener(CLIENT_LISTENER, place, place.http_port),
        _listener(STATUS_LISTENER, place, place.status_port),
    ]


def cluster(endpoint: Endpoint) -> Dict:
    """The servers of one version: found by DNS, kept while they answer their readiness path."""
    return {
        "@type": f"{TYPE}.config.cluster.v3.Cluster",
        "name": endpoint.version,
        # One endpoint per address that DNS gives: what was called STRICT_DNS.
        "cluster_type": {
            "name": "envoy.clusters.dns",
            "typed_config": {
                "@type": f"{TYPE}.extensions.clusters.dns.v3.DnsCluster",
                "dns_lookup_family": "V4_PREFERRED",
                "dns_refresh_rate": DNS_REFRESH,
                "dns_failure_refresh_rate": {"base_interval": "1s", "max_interval": "2s"},
            },
        },
        "connect_timeout": CONNECT,
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": _assignment(
            endpoint.version,
            {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}},
        ),
        # A pod that left DNS is on its way out: finish what is in flight, send nothing new.
        "ignore_health_on_host_removal": True,
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "2s",
                "unhealthy_interval": "1s",
                "no_traffic_interval": "2s",  # the default of a minute would keep a new version out
                "unhealthy_threshold": 3,
                "healthy_threshold": 1,
                "http_health_check": {"path": READY_PATH},
            }
        ],
        # Gateway failures and broken connections only: a model that answers 500 must be counted
        # by the analysis, not hidden by taking its server out.
        "outlier_detection": {
            "consecutive_5xx": 5,
            "enforcing_consecutive_5xx": 0,
            "consecutive_gateway_failure": 10,
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_success_rate": 0,
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 5,
            "enforcing_local_origin_success_rate": 0,
            "interval": "2s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
        },
        # With no healthy server at all, trying one beats refusing outright.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 4096,
                    "max_pending_requests": 4096,
                    "max_requests": 4096,
                    "retry_budget": {
                        "budget_percent": {"value": 20},
                        "min_retry_concurrency": 20,
                    },
                }
            ]
        },
    }


def _listener(name: str, place: Place, port: int) -> Dict:
    manager: Dict = {
        "@type": HCM,
        "stat_prefix": name,
        "rds": {"route_config_name": ROUTE_TABLE, "config_source": _from_file(place, ROUTES)},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
        # Before routing, and over whatever the client sent.
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": f"{TYPE}.extensions.http.early_header_mutation.header_mutation.v3"
                    ".HeaderMutation",
                    "mutations": [
                        {
                            "append": {
                                "header": {"key": LISTENER_HEADER, "value": name},
                                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                            }
                        }
                    ],
                },
            }
        ],
        # A router that is replaced goes on for a while (see router.LEAVE_SECONDS): by then clients
        # that keep their connection were told to make a new one, with an answer, never without.
        "common_http_protocol_options": {"max_connection_duration": CONNECTION_AGE},
        "http1_safe_max_connection_duration": True,
        "use_remote_address": True,
        "normalize_path": True,  # so that no spelling of a refused path gets through
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
    }
    if name == CLIENT_LISTENER:
        manager["access_log"] = [_log_server_errors()]
    return {
        "@type": f"{TYPE}.config.listener.v3.Listener",
        "name": name,
        "address": {"socket_address": {"address": place.address, "port_value": port}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }


def _log_server_errors() -> Dict:
    """Answers of 500 and above go to standard output; others are counted only."""
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": {
            "status_code_filter": {
                "comparison": {
                    "op": "GE",
                    "value": {"default_value": 500, "runtime_key": "access_log.min_status"},
                }
            }
        },
        "typed_config": {"@type": f"{TYPE}.extensions.access_loggers.stream.v3.StdoutAccessLog"},
    }


def _assignment(name: str, address: Dict) -> Dict:
    return {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }


def _from_file(place: Place, name: str) -> Dict:
    return {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": f"{place.folder}/{name}",
            "watched_directory": {"path": place.folder},
        },
    }


def _json(document: Dict) -> str:
    return json.dumps(document, indent=1)
