"""The router's files in a real Envoy, on loopback, before servers that say who they are."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from devcluster import binaries
from devcluster.ports import free_ports

from everloop.handlers.deployment_reads import parse_healthy
from everloop.manifests.router import LEAVE_SECONDS
from everloop.manifests.router_config import BOOTSTRAP, HEALTH_QUERY, Endpoint, Place, router_files
from everloop.manifests.router_routes import PIN_HEADER, WEIGHTS_PATH, parse_weights

V1, V2 = "m-v1", "m-v2"
DEADLINE = 20.0


@dataclass
class Backend:
    """A model server that answers its name; readiness and failure as a test says."""

    name: str
    port: int
    ready: bool = True
    failing: bool = False

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._connection, "127.0.0.1", self.port)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                status = b"200 OK"
                if b"/v2/health/ready" in head.split(b"\r\n")[0]:
                    status = status if self.ready else b"503 Service Unavailable"
                elif self.failing:
                    status = b"500 Internal Server Error"
                body = self.name.encode()
                length = b"%d" % len(body)
                writer.write(
                    b"HTTP/1.1 " + status + b"\r\ncontent-length: " + length + b"\r\n\r\n" + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()


@dataclass
class Envoy:
    """A router as in a pod: its files behind a `..data` link, as the kubelet swaps them."""

    folder: Path
    place: Place
    endpoints: list[Endpoint]
    backends: dict[str, Backend]
    session: aiohttp.ClientSession
    generation: int = field(default=0)

    def ask_for(self, weights: Mapping[str, int]) -> None:
        self.generation += 1
        home = self.folder / f"..{self.generation}"
        home.mkdir()
        for name, text in router_files("m", self.endpoints, weights, self.place).items():
            (home / name).write_text(text)
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        new = self.folder / "..data_tmp"
        new.symlink_to(home.name)
        os.replace(new, self.folder / "..data")  # noqa: PTH105 (rename over a link)

    async def get(self, path: str, port: int | None = None, **headers: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{port or self.place.http_port}{path}"
        async with self.session.get(url, headers=headers) as response:
            return response.status, await response.text()

    async def status(self, path: str) -> tuple[int, str]:
        return await self.get(path, self.place.status_port)

    async def in_force(self) -> dict[str, int] | None:
        try:
            status, text = await self.status(WEIGHTS_PATH)
        except aiohttp.ClientError:
            return None
        return parse_weights(text) if status == 200 else None

    async def wait_for(self, weights: Mapping[str, int]) -> float:
        """Seconds until these weights are in force."""
        started = time.monotonic()
        while await self.in_force() != weights:
            assert time.monotonic() < started + DEADLINE, "the weights are not in force"
            await asyncio.sleep(0.01)
        return time.monotonic() - started

    async def wait_answer(self, path: str, answer: tuple[int, str]) -> None:
        """Each of Envoy's threads takes a table up by itself, milliseconds after another.

        So a client's connection may still follow the one before that `/weights` told of, if it
        belongs to another thread.
        """
        started = time.monotonic()
        while (said := await self.get(path)) != answer:
            assert time.monotonic() < started + DEADLINE, said
            await asyncio.sleep(0.01)

    async def healthy(self) -> frozenset[str]:
        return parse_healthy((await self.status(HEALTH_QUERY))[1])

    async def wait_healthy(self, *versions: str) -> None:
        started = time.monotonic()
        while set(versions) != await self.healthy() - {"envoy-admin"}:
            assert time.monotonic() < started + DEADLINE, await self.healthy()
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def envoy(tmp_path: Path) -> AsyncIterator[Envoy]:
    program = binaries.find("envoy")["envoy"]
    http, status, *ports = free_ports(4)
    backends = {name: Backend(name, port) for name, port in zip((V1, V2), ports, strict=True)}
    servers = [await backend.serve() for backend in backends.values()]
    folder = tmp_path / "config"
    folder.mkdir()
    place = Place(str(folder), str(tmp_path / "admin.sock"), "127.0.0.1", http, status)
    endpoints = [Endpoint(name, "localhost", backend.port) for name, backend in backends.items()]
    async with aiohttp.ClientSession() as session:
        router = Envoy(folder, place, endpoints, backends, session)
        router.ask_for({V1: 90, V2: 10})
        process = await asyncio.create_subprocess_exec(
            program, "-c", folder / BOOTSTRAP, "--disable-hot-restart", "--concurrency", "2",
            "--log-level", "error",
        )  # fmt: skip
        try:
            await router.wait_for({V1: 90, V2: 10})
            await router.wait_healthy(V1, V2)
            yield router
        finally:
            process.terminate()
            await process.wait()
            for server in servers:
                server.close()


async def test_traffic_follows_the_weights(envoy: Envoy) -> None:
    answers = Counter([(await envoy.get("/v2/models/m/infer"))[1] for _ in range(1000)])
    assert 50 <= answers[V2] <= 150  # 10 percent; 5 standard deviations are 47
    assert answers[V1] == 1000 - answers[V2]


async def test_weights_move_under_load_without_a_failed_request(envoy: Envoy) -> None:
    answers: Counter[int] = Counter()
    done = asyncio.Event()

    async def load() -> None:
        due, running = time.monotonic(), set()
        while not done.is_set():
            task = asyncio.create_task(envoy.get("/v2/models/m/infer"))
            running.add(task)
            due += 0.01
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        for task in running:
            answers[(await task)[0]] += 1

    loading = asyncio.create_task(load())
    changes = []
    for share in (0, 100, 50, 20, 80, 1, 99, 10, 0, 100) * 2:
        weights = {name: part for name, part in ((V1, 100 - share), (V2, share)) if part}
        envoy.ask_for(weights)
        changes.append(await envoy.wait_for(weights))
    done.set()
    await loading
    assert set(answers) == {200}
    assert max(changes) < 2.0


async def test_a_kept_connection_is_given_up_with_an_answer_before_a_router_has_left(
    envoy: Envoy,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", envoy.place.http_port)
    started, head = time.monotonic(), b""
    while b"connection: close" not in head.lower():
        assert time.monotonic() < started + LEAVE_SECONDS, "the router would have ended it"
        writer.write(b"GET /v2/models/m/infer HTTP/1.1\r\nhost: m\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert (await reader.readexactly(len(V1))).decode() in {V1, V2}
        await asyncio.sleep(0.05)
    assert await reader.read() == b"", "then it ends, and nothing was lost"
    writer.close()


async def test_a_request_may_ask_for_a_version_also_for_one_without_weight(envoy: Envoy) -> None:
    envoy.ask_for({V1: 100})
    await envoy.wait_for({V1: 100})
    assert await envoy.get("/v2/models/m/infer", **{PIN_HEADER: V2}) == (200, V2)
    status, text = await envoy.get("/v2/models/m/infer", **{PIN_HEADER: "m-v9"})
    assert (status, "live: m-v1, m-v2" in text) == (404, True)


async def test_answers_name_the_version(envoy: Envoy) -> None:
    url = f"http://127.0.0.1:{envoy.place.http_port}/v2/models/m/infer"
    async with envoy.session.get(url) as response:
        assert response.headers[PIN_HEADER] == await response.text()


@pytest.mark.parametrize(
    "path",
    ["/v2/repository/models/m/unload", "/v2//repository/index", "/v2/x/../repository/index",
     "/v2/%72epository/index", "/v2%2frepository/index"],
)  # fmt: skip
async def test_models_cannot_be_unloaded_through_the_router(envoy: Envoy, path: str) -> None:
    from yarl import URL

    url = URL(f"http://127.0.0.1:{envoy.place.http_port}{path}", encoded=True)
    async with envoy.session.post(url) as response:
        assert response.status in {400, 404}


async def test_the_status_port_reads_and_nothing_else(envoy: Envoy) -> None:
    for path in ("/quitquitquit", "/config_dump", "/stats", "/v2/models/m/infer", "/clusters"):
        assert (await envoy.status(path))[0] == 404
    url = f"http://127.0.0.1:{envoy.place.status_port}{WEIGHTS_PATH}"
    async with envoy.session.post(url) as response:
        assert response.status == 404
    assert (await envoy.get(WEIGHTS_PATH))[1] in {V1, V2}, "clients see servers only"
    headers = {"x-everloop-listener": "status"}
    assert (await envoy.get("/stats/prometheus", **headers))[1] in {V1, V2}


async def test_counters_are_by_version_and_do_not_count_health_checks(envoy: Envoy) -> None:
    envoy.backends[V2].failing = True
    for _ in range(5):
        assert (await envoy.get("/v2/models/m/infer", **{PIN_HEADER: V2}))[0] == 500
    text = (await envoy.status("/stats/prometheus"))[1]
    series = [line for line in text.splitlines() if line.startswith("envoy_cluster_upstream_rq_xx")]
    assert [line for line in series if V1 in line or V2 in line] == [
        f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="5",envoy_cluster_name="{V2}"}} 5'
    ]


async def test_a_version_that_is_not_ready_is_not_reached(envoy: Envoy) -> None:
    envoy.backends[V2].ready = False
    await envoy.wait_healthy(V1)
    envoy.backends[V2].ready = True
    await envoy.wait_healthy(V1, V2)


async def test_nothing_to_serve_is_said_so(envoy: Envoy) -> None:
    envoy.ask_for({})
    await envoy.wait_for({})
    await envoy.wait_answer("/v2/models/m/infer", (503, '{"error": "no version is ready yet"}'))


def test_weights_that_cannot_be_are_refused_before_they_are_written() -> None:
    with pytest.raises(ValueError, match="sum to 100"):
        router_files("m", [Endpoint(V1, "x")], {V1: 90})
    with pytest.raises(ValueError, match="without endpoints"):
        router_files("m", [Endpoint(V1, "x")], {V1: 90, V2: 10})
