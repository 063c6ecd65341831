"""What stands before MLServer: readiness, counting, closed paths."""

from __future__ import annotations

import json
from typing import Any

import pytest

from everloop import contract
from everloop_server.gate import MAX_BODY_BYTES, Gate
from everloop_server.metrics import Metrics
from everloop_server.runtime import OUTCOME

INFER = "/v2/models/flights/infer"


class Inner:
    """Stands for MLServer: answers with a status, or fails."""

    def __init__(self, status: int = 200, reason: str = "") -> None:
        self.status = status
        self.reason = reason
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        outcome = OUTCOME.get()
        if outcome is not None:
            outcome.reason = self.reason
        if self.status == 0:
            raise RuntimeError("crashed")
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


def make_gate(inner: Inner, *, ready: bool = True) -> tuple[Gate, Metrics]:
    metrics = Metrics("flights", "flights-v1", "sha256:0", None)
    gate = Gate(inner, metrics)
    gate.ready = ready
    return gate, metrics


async def ask(gate: Gate, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    """Status and headers of the answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "path": path,
        "method": method,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await gate(scope, receive, send)
    json.loads(sent[1]["body"])
    return sent[0]["status"], dict(sent[0]["headers"])


def count(metrics: Metrics, name: str, **labels: str) -> float:
    every = {"deployment": "flights", "model_version": "flights-v1", **labels}
    value = metrics.registry.get_sample_value(name, every)
    assert value is not None
    return value


async def test_ready_only_after_loading_and_not_while_stopping() -> None:
    gate, _ = make_gate(Inner(), ready=False)
    assert (await ask(gate, "/v2/health/ready"))[0] == 503
    gate.ready = True
    assert (await ask(gate, "/v2/health/ready"))[0] == 200
    gate.draining = True
    assert (await ask(gate, "/v2/health/ready"))[0] == 503
    assert (await ask(gate, "/v2/health/live"))[0] == 200


async def test_a_request_that_comes_too_early() -> None:
    gate, metrics = make_gate(Inner(), ready=False)
    assert (await ask(gate, INFER, "POST"))[0] == 503
    assert count(metrics, contract.METRIC_ERRORS) == 1


async def test_while_stopping_requests_are_answered_and_connections_closed() -> None:
    gate, _ = make_gate(Inner())
    assert b"connection" not in (await ask(gate, INFER, "POST"))[1]
    gate.draining = True
    status, headers = await ask(gate, INFER, "POST")
    assert (status, headers[b"connection"]) == (200, b"close")


@pytest.mark.parametrize(
    ("status", "reason", "errors", "label"),
    [
        (200, "", 0, None),
        (400, "missing_input", 0, "missing_input"),
        (400, "", 0, "malformed"),
        (404, "", 0, "not_found"),
        (418, "", 0, "other"),
        (500, "", 1, None),
    ],
)
async def test_every_request_counts_once(
    status: int, reason: str, errors: int, label: str | None
) -> None:
    gate, metrics = make_gate(Inner(status, reason))
    assert (await ask(gate, INFER, "POST"))[0] == status
    assert count(metrics, contract.METRIC_REQUESTS) == 1
    assert count(metrics, contract.METRIC_DURATION + "_count") == 1
    assert count(metrics, contract.METRIC_ERRORS) == errors
    for name in ("missing_input", "malformed", "not_found", "other"):
        assert count(metrics, contract.METRIC_INVALID, reason=name) == (name == label)


async def test_a_crash_is_an_error() -> None:
    gate, metrics = make_gate(Inner(status=0))
    with pytest.raises(RuntimeError):
        await ask(gate, INFER, "POST")
    assert count(metrics, contract.METRIC_ERRORS) == 1


async def test_other_paths_do_not_count() -> None:
    gate, metrics = make_gate(Inner())
    await ask(gate, "/v2/models/flights")
    await ask(gate, INFER, "GET")
    assert count(metrics, contract.METRIC_REQUESTS) == 0


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/index",
        "/v2/repository/models/flights/unload",
        "/v2/models/flights/generate",
        "/v2/models/flights/versions/v1/infer_stream",
    ],
)
async def test_closed_paths(path: str) -> None:
    inner = Inner()
    gate, _ = make_gate(inner)
    assert (await ask(gate, path, "POST"))[0] == 404
    assert inner.scopes == []


async def test_a_body_that_is_too_large_is_not_read() -> None:
    inner = Inner()
    gate, metrics = make_gate(inner)
    too_large = {"content-length": str(MAX_BODY_BYTES + 1)}
    assert (await ask(gate, INFER, "POST", **too_large))[0] == 413
    assert inner.scopes == []
    assert count(metrics, contract.METRIC_INVALID, reason="too_large") == 1


async def test_json_whatever_curl_calls_it() -> None:
    inner = Inner()
    gate, _ = make_gate(inner)
    form = {"content-type": "application/x-www-form-urlencoded"}
    await ask(gate, "/v2/models/flights/versions/flights-v1/infer", "POST", **form)
    assert dict(inner.scopes[0]["headers"])[b"content-type"] == b"application/json"
