"""MLServer, put together for one model: REST behind the gate, our metrics, no gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from fastapi.exceptions import RequestValidationError
from mlserver import MLServer
from mlserver.registry import MultiModelRegistry
from mlserver.rest import RESTServer
from mlserver.rest.responses import Response
from mlserver.settings import ModelParameters, ModelSettings, Settings
from prometheus_client import start_http_server

from everloop_server.config import Config
from everloop_server.gate import Gate
from everloop_server.loader import Predictor
from everloop_server.metrics import Metrics
from everloop_server.runtime import EverloopModel

log = logging.getLogger("everloop")
# Longer than a router keeps an idle connection (Envoy: an hour): the one who closes first must not
# be the server, or a request sent at that moment is lost.
KEEP_ALIVE_SECONDS: Final = 3900


class Uvicorn(uvicorn.Server):
    """Leaves signals to MLServer: it would end at once, and we drain first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class GatedREST(RESTServer):  # type: ignore[misc]  # mlserver ships no types
    """MLServer's REST server behind our gate."""

    def __init__(self, *args: Any, metrics: Metrics) -> None:
        super().__init__(*args)
        self._app.add_exception_handler(RequestValidationError, _malformed)
        self.gate = Gate(self._app, metrics)

    async def start(self) -> None:
        self._server = Uvicorn(self._get_config())
        await self._server.serve()

    def _get_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self.gate,
            host=self._settings.host,
            port=self._settings.http_port,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )


class NoGRPC:
    """Stands where MLServer expects its gRPC server; listens to nothing."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self, _signal: int | None = None) -> None:
        """Nothing to stop."""


class Server(MLServer):  # type: ignore[misc]  # mlserver ships no types
    """Serves one loaded model until SIGTERM, then finishes what it has begun.

    Build it in a running event loop: MLServer installs its signal handlers at once.
    """

    def __init__(self, config: Config, predictor: Predictor, metrics: Metrics) -> None:
        self._config = config
        self._predictor = predictor
        self._metrics = metrics
        self._drain: asyncio.Task[None] | None = None
        super().__init__(
            Settings(
                debug=False,
                host="0.0.0.0",
                http_port=config.http_port,
                metrics_endpoint=None,  # MLServer's summary has no percentiles; ours is below
                parallel_workers=0,  # a process hop doubles the latency of a small model
                load_models_at_startup=False,
                server_name="everloop",
            )
        )

    def _create_model_registry(self) -> MultiModelRegistry:
        return MultiModelRegistry(
            model_initialiser=lambda settings: EverloopModel(
                settings, self._predictor, self._config.signature, self._metrics
            )
        )

    def _create_servers(self) -> None:
        self._rest_server = GatedREST(
            self._settings,
            self._data_plane,
            self._model_repository_handlers,
            metrics=self._metrics,
        )
        self._grpc_server = NoGRPC()
        self._kafka_server = None

    async def serve(self) -> None:
        """Serve until stopped."""
        # The model is registered before the port opens, so nobody meets a server without one.
        await self._model_registry.load(self._model_settings())
        start_http_server(self._config.metrics_port, registry=self._metrics.registry)
        self._rest_server.gate.ready = True
        log.info(
            "serving %s as /v2/models/%s on port %d, metrics on port %d",
            self._config.model_version,
            self._config.model_name,
            self._config.http_port,
            self._config.metrics_port,
        )
        await self._rest_server.start()
        await self._model_registry.unload(self._config.model_name)

    async def stop(self, sig: int | None = None) -> None:
        """Not ready at once; refuse new connections after the drain time; finish all requests."""
        gate = self._rest_server.gate
        if not gate.draining:
            gate.draining = True
            log.info("stopping: not ready any more, draining %gs", self._config.drain_seconds)
            await asyncio.sleep(self._config.drain_seconds)
        with contextlib.suppress(AttributeError):  # stopped before it had started
            await self._rest_server.stop(sig or signal.SIGTERM)

    def _model_settings(self) -> ModelSettings:
        signature = self._config.signature
        described = signature.to_dict() if signature else {"inputs": [], "outputs": []}
        return ModelSettings(
            name=self._config.model_name,
            implementation=EverloopModel,
            platform=self._config.artifact_format,
            versions=[self._config.model_version],
            parameters=ModelParameters(version=self._config.model_version),
            **described,
        )


async def _malformed(_request: Any, error: Exception) -> Response:
    """MLServer answers 422 with a list; a V2 error is a 400 with one text."""
    details = error.errors() if isinstance(error, RequestValidationError) else []
    text = "the body is not a V2 inference request"
    if details:
        first = details[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        if first["type"] == "json_invalid":
            where = f"at character {where}"
        text += f": {where + ': ' if where else ''}{first['msg']}"
    return Response(status_code=400, content={"error": text})
