"""`python -m everloop_server`: serves the ModelVersion that the environment names.

Downloads the artifact, compares its digest, loads it, then opens its ports. On a failure it exits
with 3 and a termination message that `kubectl describe pod` shows.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
from pathlib import Path

import uvloop

from everloop.contract import TERMINATION_LOG
from everloop_server.artifact import download_artifact, read_profile
from everloop_server.config import Config
from everloop_server.errors import ServerError
from everloop_server.loader import load
from everloop_server.metrics import Metrics
from everloop_server.profile import parse
from everloop_server.runtime import check_profile
from everloop_server.server import Server

log = logging.getLogger("everloop")
EXIT_FAILURE = 3
MESSAGE_BYTES = 1200  # of a termination message; Kubernetes cuts it


def main() -> int:
    """Serve until SIGTERM; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("mlserver").propagate = False  # it has a handler of its own
    logging.getLogger("aiobotocore").setLevel(logging.WARNING)  # says where credentials came from
    try:
        config = Config.from_environment(os.environ)
        with tempfile.TemporaryDirectory(prefix="model-", dir=config.folder) as folder:
            run(config, Path(folder))
    except ServerError as error:
        log.error("%s: %s", error.reason, error)
        _terminate(error)
        return EXIT_FAILURE
    return 0


def run(config: Config, folder: Path) -> None:
    """Download, compare, load, serve. Raises ServerError."""
    download_artifact(config.artifact_uri, config.artifact_digest, folder)
    profile = None
    if config.profile_uri:
        profile = parse(read_profile(config.profile_uri, config.profile_digest))
    predictor = load(folder, config.artifact_format)
    metrics = Metrics(config.deployment, config.model_version, config.artifact_digest, profile)
    check_profile(metrics, config.signature)

    async def serve() -> None:
        await Server(config, predictor, metrics).serve()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def _terminate(error: ServerError) -> None:
    record = {"reason": error.reason, "exitCode": EXIT_FAILURE, "message": str(error)}
    path = Path(TERMINATION_LOG)
    if path.exists():  # outside a pod the log line is all there is
        path.write_bytes(json.dumps(record).encode()[:MESSAGE_BYTES])


if __name__ == "__main__":
    sys.exit(main())
