"""The server's configuration, from the environment that the Deployment's pods have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from everloop import contract
from everloop_server.errors import InvalidConfigurationError
from everloop_server.signature import Signature

# Time between SIGTERM and the last accepted request, for those who have not noticed yet.
ENV_DRAIN_SECONDS = "EVERLOOP_DRAIN_SECONDS"
ENV_HTTP_PORT = "EVERLOOP_HTTP_PORT"
ENV_METRICS_PORT = "EVERLOOP_METRICS_PORT"
DEFAULT_DRAIN_SECONDS = 2.0


@dataclass(frozen=True)
class Config:
    """What to serve, and as what."""

    model_name: str
    deployment: str
    model_version: str
    artifact_uri: str
    artifact_digest: str
    artifact_format: str = "sklearn"
    profile_uri: str = ""  # empty: the version has none
    profile_digest: str = ""
    signature: Signature | None = None
    http_port: int = contract.SERVER_HTTP_PORT
    metrics_port: int = contract.SERVER_METRICS_PORT
    drain_seconds: float = DEFAULT_DRAIN_SECONDS
    folder: str | None = None  # where there is room for the model; else the temporary folder

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Config:
        """Read it. Raises InvalidConfigurationError naming the variable."""

        def need(name: str) -> str:
            value = environment.get(name, "")
            if not value:
                raise InvalidConfigurationError(f"the environment variable {name} must be set")
            return value

        profile_uri = environment.get(contract.ENV_PROFILE_URI, "")
        try:
            signature = Signature.from_json(environment.get(contract.ENV_SIGNATURE, ""))
        except ValueError as error:
            raise InvalidConfigurationError(
                f"{contract.ENV_SIGNATURE} cannot be read: {error}"
            ) from error
        return cls(
            model_name=need(contract.ENV_MODEL_NAME),
            deployment=need(contract.ENV_DEPLOYMENT),
            model_version=need(contract.ENV_MODEL_VERSION),
            artifact_uri=need(contract.ENV_ARTIFACT_URI),
            artifact_digest=need(contract.ENV_ARTIFACT_DIGEST),
            artifact_format=environment.get(contract.ENV_ARTIFACT_FORMAT) or "sklearn",
            profile_uri=profile_uri,
            profile_digest=need(contract.ENV_PROFILE_DIGEST) if profile_uri else "",
            signature=signature,
            http_port=int(_number(environment, ENV_HTTP_PORT, contract.SERVER_HTTP_PORT)),
            metrics_port=int(_number(environment, ENV_METRICS_PORT, contract.SERVER_METRICS_PORT)),
            drain_seconds=_number(environment, ENV_DRAIN_SECONDS, DEFAULT_DRAIN_SECONDS),
            folder=environment.get(contract.ENV_MODEL_DIR) or None,
        )


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 65535:
        raise InvalidConfigurationError(f"{name}={text!r} must be a number from 0 to 65535")
    return value
