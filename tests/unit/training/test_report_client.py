"""The report is delivered through whatever passes, and given up only when that is said."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from report_server import make_certificate, report_server
from training_pod import TrainingPod

from everloop_training.errors import RunError
from everloop_training.report import deliver


class Pauses:
    """Stands for time.sleep: remembers, and does what a test wants to happen meanwhile."""

    def __init__(self, limit: int = 20) -> None:
        self.taken: list[float] = []
        self._limit = limit

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        assert len(self.taken) < self._limit, "the report is never acknowledged"
        self.happen(len(self.taken))

    def happen(self, number: int) -> None:
        """What happens in pause `number`, from 1."""


@pytest.fixture
def pod(tmp_path: Path) -> TrainingPod:
    return TrainingPod(tmp_path / "pod")


def test_a_standby_a_busy_one_and_then_the_leader(pod: TrainingPod, tmp_path: Path) -> None:
    with report_server(tmp_path, [503, 429, 500]) as server:
        shutil.copy(server.certificate, pod.layout.ca)
        pauses = Pauses()
        deliver(pod.layout, server.url, b'{"a":1}', sleep=pauses)
    assert server.bodies == [b'{"a":1}'] * 4
    assert len(pauses.taken) == 3
    assert max(pauses.taken) <= 5


def test_the_token_is_read_again(pod: TrainingPod, tmp_path: Path) -> None:
    class Renewed(Pauses):
        def happen(self, number: int) -> None:
            pod.layout.token.write_text("token-2")

    with report_server(tmp_path, [401]) as server:
        shutil.copy(server.certificate, pod.layout.ca)
        deliver(pod.layout, server.url, b"{}", sleep=Renewed())
    assert server.tokens == ["Bearer token-1", "Bearer token-2"]


def test_the_ca_is_read_again(pod: TrainingPod, tmp_path: Path) -> None:
    """While the CA rotates, the bundle in the pod may be a moment behind."""
    stale, _ = make_certificate(tmp_path / "stale")
    shutil.copy(stale, pod.layout.ca)
    with report_server(tmp_path, []) as server:

        class Rotated(Pauses):
            def happen(self, number: int) -> None:
                shutil.copy(server.certificate, pod.layout.ca)

        pauses = Rotated()
        deliver(pod.layout, server.url, b"{}", sleep=pauses)
    assert len(pauses.taken) == 1


def test_an_operator_that_is_down(pod: TrainingPod, tmp_path: Path) -> None:
    shutil.copy(make_certificate(tmp_path / "any")[0], pod.layout.ca)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"https://localhost:{closed.getsockname()[1]}/report"

    class GivenUpError(Exception):
        pass

    class Patience(Pauses):
        def happen(self, number: int) -> None:
            if number == 8:
                raise GivenUpError

    with pytest.raises(GivenUpError):
        deliver(pod.layout, url, b"{}", sleep=Patience())


@pytest.mark.parametrize("status", [403, 409, 413, 422])
def test_a_refusal_ends_it(pod: TrainingPod, tmp_path: Path, status: int) -> None:
    with report_server(tmp_path, [status]) as server:
        shutil.copy(server.certificate, pod.layout.ca)
        with pytest.raises(RunError) as caught:
            deliver(pod.layout, server.url, b"{}", sleep=Pauses())
    assert caught.value.reason == "ReportRejected"
    assert len(server.bodies) == 1
