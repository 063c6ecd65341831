"""The router's route table: pinned, else by weight; and what its read-only listener answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from everloop.api.json_text import read_object

Dict = dict[str, Any]

WEIGHTS_PATH = "/weights"
STATS_PATH = "/stats/prometheus"
PIN_HEADER = "x-everloop-version"  # on a request: this version, please; on a response: it was this
TYPE = "type.googleapis.com/envoy"
CLIENT_LISTENER, STATUS_LISTENER = "router", "status"
LISTENER_HEADER = "x-everloop-listener"  # which listener a request came in by; set by the router
ROUTE_TABLE = "everloop"
ADMIN_CLUSTER = "envoy-admin"
ADMIN_PATHS = ("/v2/repository",)  # MLServer's load and unload: not for clients
REQUEST_TIMEOUT = "60s"


def weights_json(weights: Mapping[str, int]) -> str:
    """What `/weights` answers: {"weights": {version: percent}}, without versions at 0."""
    given = {version: weight for version, weight in sorted(weights.items()) if weight}
    return json.dumps({"weights": given}, separators=(",", ":"))


def parse_weights(text: str) -> dict[str, int]:
    """The weights of a `/weights` answer. Raises ValueError for anything else."""
    document = read_object(text) or {}
    weights = document.get("weights")
    if not isinstance(weights, dict) or not all(_is_percent(item) for item in weights.values()):
        raise ValueError(f"not an answer of a router to {WEIGHTS_PATH}: {text[:80]!r}")
    return dict(weights)


def _is_percent(value: object) -> bool:
    return type(value) is int and 0 <= value <= 100


def route_table(live: Sequence[str], weights: Mapping[str, int]) -> Dict:
    """The one route table of both listeners: `/weights` can only say what traffic follows.

    Envoy takes one table a file, and two files would change one after the other, or only one of
    them if the other is rejected. Each listener marks its requests instead.
    """
    status = _header(LISTENER_HEADER, STATUS_LISTENER)
    get = _header(":method", "GET")
    routes: list[Dict] = [
        {
            "match": {"path": WEIGHTS_PATH, "headers": [status, get]},
            **_json_response(200, weights_json(weights)),
        },
        {
            "match": {"path": STATS_PATH, "headers": [status, get]},
            "route": {"cluster": ADMIN_CLUSTER},
        },
        _refusal(
            {"prefix": "/", "headers": [status]}, 404, f"only GET {WEIGHTS_PATH} and {STATS_PATH}"
        ),
        *(
            _refusal({"path_separated_prefix": path}, 404, f"{path} is not served here")
            for path in ADMIN_PATHS
        ),
        *(_pinned(version) for version in live),
        _refusal(
            {"prefix": "/", "headers": [{"name": PIN_HEADER, "present_match": True}]},
            404,
            f"no such version is live; live: {', '.join(live) or 'none'}",
        ),
        _weighted(weights),
    ]
    return {
        "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTE_TABLE,
        # A version that is being added may be routed to before its cluster is there.
        "validate_clusters": False,
        "virtual_hosts": [{"name": ROUTE_TABLE, "domains": ["*"], "routes": routes}],
    }


def _pinned(version: str) -> Dict:
    """The route of who asks for this version."""
    return {
        "match": {"prefix": "/", "headers": [_header(PIN_HEADER, version)]},
        "route": {"cluster": version, **_patience()},
        "response_headers_to_add": [_answered_by(version)],
    }


def _weighted(weights: Mapping[str, int]) -> Dict:
    """The route of everybody else: by weight."""
    if not weights:
        return _refusal({"prefix": "/"}, 503, "no version is ready yet")
    return {
        "match": {"prefix": "/"},
        "route": {
            "weighted_clusters": {
                "clusters": [
                    {
                        "name": version,
                        "weight": weight,
                        "response_headers_to_add": [_answered_by(version)],
                    }
                    for version, weight in sorted(weights.items())
                    if weight
                ]
            },
            **_patience(),
        },
    }


def _patience() -> Dict:
    """Retries for requests that no server has begun to work on; never for an answered one."""
    return {
        "timeout": REQUEST_TIMEOUT,
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 3,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": f"{TYPE}.extensions.retry.host.previous_hosts.v3"
                        ".PreviousHostsPredicate"
                    },
                }
            ],
            "host_selection_retry_max_attempts": 3,
            "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        },
    }


def _refusal(match: Dict, status: int, error: str) -> Dict:
    return {"match": match, **_json_response(status, json.dumps({"error": error}))}


def _json_response(status: int, body: str) -> Dict:
    return {
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": [_set_header("content-type", "application/json")],
    }


def _answered_by(version: str) -> Dict:
    return _set_header(PIN_HEADER, version)


def _set_header(name: str, value: str) -> Dict:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _header(name: str, value: str) -> Dict:
    return {"name": name, "string_match": {"exact": value}}
