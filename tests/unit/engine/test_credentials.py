"""How the operator finds its API server."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from everloop.cluster.credentials import NoCredentials, load


def kubeconfig(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, str]:
    """An environment whose kubeconfig says this."""
    config = {
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://example:6443/"} | cluster}],
        "users": [{"name": "u", "user": user}],
    }
    file = folder / "config"
    file.write_text(json.dumps(config))
    return {"KUBECONFIG": f"{file}:/a/second/that/is/ignored"}


def test_files_are_beside_the_kubeconfig_and_data_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("the CA")
    inline = base64.b64encode(b"the certificate").decode()
    environment = kubeconfig(
        tmp_path, {"certificate-authority": "ca.crt"}, {"client-certificate-data": inline}
    )
    found = load(environment)
    assert found.server == "https://example:6443"
    assert found.ca == "the CA"
    assert found.certificate == "the certificate"
    assert found.token() is None


def test_a_token_file_is_read_again_when_it_was_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    found = load(kubeconfig(tmp_path, {}, {"tokenFile": "token"}))
    assert found.token() == "first"
    token.write_text("second\n")
    assert found.token() == "first"
    found.refused()
    assert found.token() == "second"


@pytest.mark.parametrize(
    ("text", "says"),
    [("{}", "not a usable kubeconfig"), ("[", "not a usable kubeconfig")],
    ids=["empty", "broken"],
)
def test_an_unusable_kubeconfig_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(NoCredentials, match=says):
        load({"KUBECONFIG": str(file)})


def test_no_kubeconfig_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoCredentials, match="does not exist"):
        load({"KUBECONFIG": str(tmp_path / "none")})


def test_a_login_program_is_refused_with_what_to_use(tmp_path: Path) -> None:
    with pytest.raises(NoCredentials, match="a token or a certificate"):
        load(kubeconfig(tmp_path, {}, {"exec": {"command": "login"}}))
