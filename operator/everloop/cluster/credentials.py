"""How to reach the API server: the service account in a pod, a kubeconfig elsewhere.

Read by hand: importing a client library for it takes seconds of every start and 60 MB for its
models, and a standby that is slow to start is an outage.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_SECONDS = 60.0  # the kubelet renews a token long before it expires


def behind_proxy(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a proxy is configured. Asking aiohttp to look costs two threads' hops a request."""
    return any(environment.get(name) for name in ("HTTPS_PROXY", "https_proxy"))


class NoCredentials(Exception):  # noqa: N818 (what is wrong)
    """Neither a service account nor a usable kubeconfig; the message says what to do."""


@dataclass
class Configuration:
    """One API server and who we are to it. PEM is text, as in the files."""

    server: str
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    token_file: Path | None = None
    fixed_token: str | None = None
    insecure: bool = False
    _token: str | None = None
    _token_read: float = 0.0

    def token(self) -> str | None:
        """The bearer token; read again every minute where it is a file."""
        if self.token_file is None:
            return self.fixed_token
        now = time.monotonic()
        if self._token is None or now - self._token_read > TOKEN_SECONDS:
            self._token, self._token_read = self.token_file.read_text().strip(), now
        return self._token

    def refused(self) -> None:
        """The server did not take the token: read the file again at the next request."""
        self._token = None

    def ssl_context(self) -> ssl.SSLContext:
        """For TLS to this server, with our certificate if we have one."""
        context = ssl.create_default_context(cadata=self.ca)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate and self.key:
            # The standard library loads a key from a file only.
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(f"{self.certificate}\n{self.key}\n")
                file.flush()
                context.load_cert_chain(file.name)
        return context


def load(environment: Mapping[str, str] = os.environ) -> Configuration:
    """The pod's service account, else the current context of KUBECONFIG or ~/.kube/config.

    Raises NoCredentials.
    """
    host = environment.get("KUBERNETES_SERVICE_HOST")
    if host and (SERVICE_ACCOUNT / "token").exists():
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        return Configuration(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            ca=(SERVICE_ACCOUNT / "ca.crt").read_text(),
            token_file=SERVICE_ACCOUNT / "token",
        )
    named = environment.get("KUBECONFIG", "~/.kube/config").split(os.pathsep)[0]
    file = Path(named).expanduser()
    try:
        return _from_kubeconfig(yaml.safe_load(file.read_text()), file.parent)
    except FileNotFoundError as error:
        raise NoCredentials(f"not in a pod, and {error.filename} does not exist") from error
    except (KeyError, TypeError, StopIteration, binascii.Error, yaml.YAMLError) as error:
        raise NoCredentials(f"{file} is not a usable kubeconfig: {error!r}") from error


def _from_kubeconfig(config: Mapping[str, Any], folder: Path) -> Configuration:
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    if "exec" in user or "auth-provider" in user:
        raise NoCredentials(
            "the kubeconfig's user needs a login program: use one with a token or a certificate"
        )
    return Configuration(
        server=cluster["server"].rstrip("/"),
        ca=_text(cluster, "certificate-authority", folder),
        certificate=_text(user, "client-certificate", folder),
        key=_text(user, "client-key", folder),
        token_file=folder / user["tokenFile"] if "tokenFile" in user else None,
        fixed_token=user.get("token"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _text(section: Mapping[str, Any], key: str, folder: Path) -> str | None:
    """`key` names a file, `key-data` holds it in base64."""
    if f"{key}-data" in section:
        return base64.b64decode(section[f"{key}-data"]).decode()
    return (folder / section[key]).read_text() if key in section else None
