"""A thousand requests a second without a right at a real operator's doors: refused, and cheaply.

They are sent when they are due, answered or not. How many a second are answered is in the log, and
depends on what else runs; what is asserted is that a core could answer them all. What refusing one
costs is told beside a request that asks for nothing (GET /healthz), since machines differ.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from devcluster.control_plane_only import ControlPlane
from doors import Doors, expired, make_pod_of, open_doors, token_of
from flood import Door, Sent, flood, flood_anew, lines, request
from kube import Kube, ref
from operator_process import eventually
from samples import make_training_run

from everloop.intake.alert_webhook import PATH as WEBHOOK

log = logging.getLogger(__name__)
PER_SECOND, LINES = 1000, 40
LEAST, TRIES = 0.9, 3  # of PER_SECOND were sent; else it was no flood, and is tried again
FLAT = 10_000_000  # bytes that memory may grow by, at its peak
ANEW_PER_SECOND, ANEW = 50, 150  # each with a handshake of its own


@pytest.fixture(scope="module")
def doors(
    kube: Kube, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Doors]:
    with open_doors(kube, plane, tmp_path_factory.mktemp("floods"), "floods") as doors:
        yield doors


@dataclass(frozen=True)
class Flood:
    """Requests with tokens that are not good at this door, and what refusing them may cost."""

    door: str
    tokens: Callable[[Doors, str, str], Sequence[str]]  # by those of this run's pod, of another's
    status: int = 401
    reads: float = 0.01  # of the API server, for each; the cluster's keys are read every 10 s
    processor: float = 6.0  # for each, of what GET /healthz takes; by itself 2, with a signature 4
    new_names: bool = False  # each for a run of another name


def nothing(_: Doors, mine: str, others: str) -> Sequence[str]:
    return [""] * 4000


def words(_: Doors, mine: str, others: str) -> Sequence[str]:
    return [f"wrong-{number}" for number in range(4000)]


def unknown_keys(_: Doors, mine: str, others: str) -> Sequence[str]:
    """Well-formed, and each says it is signed by a key that the cluster does not have."""
    claims = jwt.decode(mine, options={"verify_signature": False})
    key = ec.generate_private_key(ec.SECP256R1())
    return [jwt.encode(claims, key, "ES256", {"kid": f"unknown-{n}"}) for n in range(4000)]


def of_yesterday(doors: Doors, mine: str, others: str) -> Sequence[str]:
    return [expired(doors, mine)] * 4000


def of_another_run(_: Doors, mine: str, others: str) -> Sequence[str]:
    return [others] * 4000


FLOODS = {
    "webhook-nothing": Flood("webhook", nothing),
    "webhook-words": Flood("webhook", words),
    "webhook-unknown-keys": Flood("webhook", unknown_keys),
    "reports-nothing": Flood("reports", nothing),
    "reports-words": Flood("reports", words),
    "reports-unknown-keys": Flood("reports", unknown_keys),
    "reports-expired": Flood("reports", of_yesterday),
    # Of a pod that is not known to run yet, pod and run are read, every ten seconds.
    "reports-another-run": Flood("reports", of_another_run, status=403, reads=0.05),
    "reports-new-names": Flood("reports", of_another_run, status=403, reads=0.05, new_names=True),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_is_refused_cheaply(doors: Doors, name: str) -> None:
    """A thousand requests a second without a right: all refused, memory flat, work goes on."""
    kind = FLOODS[name]
    requests = _requests(doors, name, kind)
    door = doors.webhook if kind.door == "webhook" else doors.reports
    plainly = [request("GET", "/healthz", "")] * PER_SECOND
    written, started = _lines_written(doors), time.monotonic()
    before = await _measured(doors, doors.health, plainly)
    cost = await _flooded(doors, door, requests)
    after = await _measured(doors, doors.health, plainly)
    plain = (before.processor_seconds + after.processor_seconds) / 2  # whatever else runs here
    dearness = cost.processor_seconds / plain
    log.warning("%s: %.1f times GET /healthz; %s", name, dearness, cost)
    assert before.sent.answers == after.sent.answers == {200: PER_SECOND}
    assert cost.sent.answers == {kind.status: len(requests)}
    assert dearness < kind.processor
    assert cost.processor_seconds < 1 / PER_SECOND, "more than a core"
    assert cost.reads < kind.reads
    assert cost.grown < FLAT
    assert _lines_written(doors) - written < time.monotonic() - started + 10
    _works_on(doors, f"{name}-after")


def _requests(doors: Doors, name: str, kind: Flood) -> list[bytes]:
    """To be sent; by the token of a pod that does not run, for a run whose pod does not, either."""
    _, pod = make_pod_of(doors, f"{name}-mine")
    _, other = make_pod_of(doors, f"{name}-other")
    tokens = kind.tokens(doors, token_of(doors.kube, pod), token_of(doors.kube, other))
    if kind.door == "webhook":
        return [request("POST", WEBHOOK, token) for token in tokens]
    runs = [f"x-{n}" if kind.new_names else f"{name}-mine" for n in range(len(tokens))]
    paths = map(doors.report_path, runs)
    return [request("POST", *both) for both in zip(paths, tokens, strict=True)]


async def test_connections_that_are_not_kept_cost_their_handshakes(doors: Doors) -> None:
    """Little is added to what a stranger takes who connects, and asks for what is not there."""
    costs: dict[str, Cost] = {}
    for door, path in (
        (doors.reports, doors.report_path("any")),
        (doors.reports, "/nowhere"),
        (doors.webhook, WEBHOOK),
    ):
        texts = [request("POST", path, "", keep=False)] * ANEW
        await flood_anew(door, texts[:20], ANEW_PER_SECOND)
        costs[path] = await _cost(doors, flood_anew(door, texts, ANEW_PER_SECOND))
        log.warning("POST %s, each on a connection of its own: %s", path, costs[path])
    nowhere = costs.pop("/nowhere")
    assert nowhere.sent.answers == {404: ANEW}
    for cost in costs.values():
        assert cost.sent.answers == {401: ANEW}
        assert cost.processor_seconds < 1.5 * nowhere.processor_seconds
        assert cost.reads == 0
        assert cost.grown < FLAT
    _works_on(doors, "anew-after")


async def test_names_that_a_pod_makes_up_are_not_looked_for(doors: Doors) -> None:
    """One after the other, so that all but the first are of a pod that has been refused."""
    _, pod = make_pod_of(doors, "inventive")
    token = token_of(doors.kube, pod)
    assert (await doors.post(doors.report_url("made-up"), token, {}))[0] == 403
    read = doors.reads()
    for number in range(50):
        status, answer = await doors.post(doors.report_url(f"made-up-{number}"), token, {})
        assert (status, f"made-up-{number}" in answer) == (403, True), answer
    assert doors.reads() == read


def _works_on(doors: Doors, run: str) -> None:
    assert doors.operator.get("/healthz") == (200, "ok")
    doors.kube.create(make_training_run(run, doors.namespace))
    job = ref("batch/v1", "Job", doors.namespace, f"{run}-1")
    eventually(lambda: doors.kube.get(job), 20, "it does not work any more")


def _lines_written(doors: Doors) -> int:
    return doors.operator.log.read_text().count("\n")


@dataclass(frozen=True)
class Cost:
    """What answering requests took."""

    sent: Sent
    grown: int  # bytes, at the peak
    processor_seconds: float  # for each
    reads: float  # of the API server, for each


async def _flooded(doors: Doors, door: Door, requests: Sequence[bytes]) -> Cost:
    for _ in range(TRIES):
        cost = await _measured(doors, door, requests)
        if cost.sent.offered >= LEAST * PER_SECOND:
            return cost
    raise AssertionError(f"no flood, only {cost.sent.offered:.0f} requests a second were sent")


async def _measured(doors: Doors, door: Door, requests: Sequence[bytes]) -> Cost:
    async with lines(door, LINES) as opened:
        await flood(opened, requests[:200], PER_SECOND)  # buffers are there
        return await _cost(doors, flood(opened, requests, PER_SECOND))


async def _cost(doors: Doors, sending: Awaitable[Sent]) -> Cost:
    operator = doors.operator
    operator.forget_peak()
    before, used, read = operator.resident_bytes(), operator.processor_seconds(), doors.reads()
    try:
        sent = await sending
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        why = f"exit code {operator.exit_code()}. {operator.tail()}"
        raise AssertionError(f"a request had no answer: {error!r}; {why}") from error
    count = sent.answers.total()
    return Cost(
        sent,
        operator.peak_bytes() - before,
        (operator.processor_seconds() - used) / count,
        (doors.reads() - read) / count,
    )
