"""Nothing is loaded but the bytes that were registered."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fsspec
import pytest

from everloop.contract import files_digest
from everloop_server.artifact import download_artifact, read_profile
from everloop_server.config import Config
from everloop_server.errors import (
    ArtifactChangedError,
    ArtifactMissingError,
    InvalidConfigurationError,
    ModelNotLoadableError,
)
from everloop_server.profile import parse

FILES = {"model.joblib": b"model", "parts/vocabulary.txt": b"words"}
DIGEST = files_digest(
    (name, len(content), hashlib.sha256(content).hexdigest()) for name, content in FILES.items()
)


@pytest.fixture(params=["file", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    root = f"{request.param}://{tmp_path}/models/sha256-1/model"
    for name, content in FILES.items():
        with fsspec.open(f"{root}/{name}", "wb", auto_mkdir=True) as file:
            file.write(content)
    return root


def test_the_registered_bytes(uri: str, tmp_path: Path) -> None:
    download_artifact(uri, DIGEST, tmp_path / "here")
    for name, content in FILES.items():
        assert (tmp_path / "here" / name).read_bytes() == content


@pytest.mark.parametrize("name", ["model.joblib", "one-more.txt"])
def test_changed_bytes_name_both_digests(uri: str, tmp_path: Path, name: str) -> None:
    with fsspec.open(f"{uri}/{name}", "wb") as file:
        file.write(b"other")
    with pytest.raises(ArtifactChangedError, match=DIGEST) as caught:
        download_artifact(uri, DIGEST, tmp_path / "here")
    assert str(caught.value).count("sha256:") == 2


def test_nothing_there_names_the_uri(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/nothing"
    with pytest.raises(ArtifactMissingError, match=uri):
        download_artifact(uri, DIGEST, tmp_path / "here")


@pytest.mark.parametrize("uri", ["nosuchstore://bucket/model", "memory://no/profile.json"])
def test_a_profile_that_cannot_be_read(uri: str) -> None:
    with pytest.raises(ArtifactMissingError, match=uri):
        read_profile(uri, DIGEST)


def test_a_changed_profile(uri: str) -> None:
    path = f"{uri}/model.joblib"
    right = f"sha256:{hashlib.sha256(b'model').hexdigest()}"
    assert read_profile(path, right) == b"model"
    with pytest.raises(ArtifactChangedError, match=right):
        read_profile(path, DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"schema": 2}',
        '{"schema": 1, "rows": 1, "heldOutRows": 1, "inputs": [{}], "outputs": []}',
        '{"schema": 1, "rows": 1, "heldOutRows": 1, "outputs": [], "inputs": [{"name": "x", '
        '"kind": "numeric", "edges": [1.0], "bins": ["0"], "fractions": [1.0]}]}',
    ],
)
def test_a_profile_of_another_kind(text: str) -> None:
    with pytest.raises(ModelNotLoadableError, match="the profile cannot be read"):
        parse(text)


NEEDED = {
    "EVERLOOP_MODEL_NAME": "flights",
    "EVERLOOP_DEPLOYMENT": "flights",
    "EVERLOOP_MODEL_VERSION": "flights-v1",
    "EVERLOOP_ARTIFACT_URI": "memory://model",
    "EVERLOOP_ARTIFACT_DIGEST": DIGEST,
}


def test_a_configuration_with_what_is_needed() -> None:
    config = Config.from_environment(NEEDED)
    assert (config.http_port, config.metrics_port, config.profile_uri) == (8080, 8082, "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *(({name: ""}, name) for name in NEEDED),
        ({"EVERLOOP_PROFILE_URI": "memory://profile"}, "EVERLOOP_PROFILE_DIGEST"),
        ({"EVERLOOP_SIGNATURE": "{"}, "EVERLOOP_SIGNATURE"),
        ({"EVERLOOP_DRAIN_SECONDS": "soon"}, "EVERLOOP_DRAIN_SECONDS='soon'"),
        ({"EVERLOOP_HTTP_PORT": "-1"}, "EVERLOOP_HTTP_PORT"),
    ],
)
def test_a_configuration_that_names_the_variable(change: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=said):
        Config.from_environment({**NEEDED, **change})
