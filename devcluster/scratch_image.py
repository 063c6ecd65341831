"""An image of one static binary, pushed to a registry with nothing but HTTP.

Much faster than a build tool for what the cluster needs before it can run anything: the pause
container and CoreDNS. The same binary always gives the same digest. Layers are not compressed:
they only cross a loopback.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from devcluster.progress import UserError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def push(registry: str, image: str, binary: Path, machine: str) -> str:
    """Push `binary` as `image` (NAME:TAG), unless its layer is there already; return the reference.

    `machine` is Go's name of the architecture. The image runs the binary as user 65534.
    """
    name, _, tag = image.partition(":")
    layer = _layer(binary)
    config = json.dumps({
        "architecture": machine,
        "os": "linux",
        "config": {"Entrypoint": [f"/{binary.name}"], "User": "65534:65534"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }).encode()  # fmt: skip
    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _described("application/vnd.oci.image.config.v1+json", config),
        "layers": [_described("application/vnd.oci.image.layer.v1.tar", layer)],
    }).encode()  # fmt: skip
    base = f"http://{registry}/v2/{name}"
    for blob in (layer, config):
        _push_blob(base, blob)
    _request("PUT", f"{base}/manifests/{tag}", manifest, MANIFEST_TYPE)
    return f"{registry}/{image}"


def _layer(binary: Path) -> bytes:
    """A tar of the binary alone, without times or owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(binary.name)
        entry.mode, entry.size = 0o755, binary.stat().st_size
        with binary.open("rb") as content:
            archive.addfile(entry, content)
    return buffer.getvalue()


def _push_blob(base: str, blob: bytes) -> None:
    digest = _digest(blob)
    try:
        _request("HEAD", f"{base}/blobs/{digest}")
        return
    except urllib.error.HTTPError as missing:
        if missing.code != 404:
            raise
    location = _request("POST", f"{base}/blobs/uploads/")
    separator = "&" if "?" in location else "?"
    _request("PUT", f"{location}{separator}digest={digest}", blob, "application/octet-stream")


def _request(method: str, url: str, body: bytes | None = None, kind: str = "") -> str:
    """Send one request past any proxy; return the Location that it answers."""
    headers = {"Content-Type": kind} if kind else {}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=60) as response:
            return str(response.headers.get("Location", ""))
    except urllib.error.HTTPError:
        raise
    except OSError as error:
        raise UserError(f"{method} {url}: {error}") from error


def _described(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
