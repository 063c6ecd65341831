"""Writes images of single static binaries straight into a registry, over its HTTP API.

For the dev cluster's own images (pause, CoreDNS, Prometheus, …): one binary, no base, so no image
builder is needed. Layers are plain tar (no compression: the registry is on this machine), byte for
byte the same for the same files, so an image that is there already is not sent again.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.progress import UserError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
ACCEPT = f"{MANIFEST}, application/vnd.docker.distribution.manifest.v2+json"
CHUNK = 1 << 20
NOBODY = 65532


@dataclass(frozen=True)
class Layer:
    """One uncompressed tar: headers in memory, file contents read from disk when needed."""

    parts: tuple[bytes | Path, ...]

    def chunks(self) -> Iterator[bytes]:
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
                continue
            with part.open("rb") as file:
                while block := file.read(CHUNK):
                    yield block

    @property
    def size(self) -> int:
        return sum(len(p) if isinstance(p, bytes) else p.stat().st_size for p in self.parts)

    def digest(self) -> str:
        sha = hashlib.sha256()
        for block in self.chunks():
            sha.update(block)
        return f"sha256:{sha.hexdigest()}"


def layer_of(files: Mapping[str, Path | bytes], folders: Sequence[str] = ()) -> Layer:
    """The layer that holds `files` (path in the image → binary or text), and empty `folders`.

    Files are executable and root's; folders belong to the user the image runs as. No time stamps.
    """
    parents = {str(p) for name in files for p in Path(name.lstrip("/")).parents if str(p) != "."}
    parts: list[bytes | Path] = []

    def header(name: str, kind: bytes, size: int, mode: int, owner: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mode, info.uid, info.gid = kind, size, mode, owner, owner
        return info.tobuf(tarfile.GNU_FORMAT)

    owned = {f.strip("/") for f in folders}
    for name in sorted(parents | owned):
        owner = NOBODY if name in owned else 0
        parts.append(header(name, tarfile.DIRTYPE, 0, 0o755, owner))
    for name, content in sorted(files.items()):
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        parts += [header(name.lstrip("/"), tarfile.REGTYPE, size, 0o755, 0), content]
        parts.append(b"\0" * (-size % tarfile.BLOCKSIZE))
    parts.append(b"\0" * 2 * tarfile.BLOCKSIZE)
    return Layer(tuple(parts))


def describe(media_type: str, body: bytes) -> dict[str, Any]:
    """An OCI descriptor of a blob held in memory."""
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(body)}


def image_of(layer: Layer, settings: Mapping[str, Any], arch: str) -> tuple[bytes, bytes]:
    """(manifest, config) of an image of one layer; `settings` as in the OCI config object."""
    digest = layer.digest()
    config = json.dumps(
        {
            "architecture": arch,
            "os": "linux",
            "config": dict(settings),
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        },
        sort_keys=True,
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": describe(CONFIG, config),
            "layers": [{"mediaType": LAYER, "digest": digest, "size": layer.size}],
        },
        sort_keys=True,
    ).encode()
    return manifest, config


class Registry:
    """A registry on this machine, by plain HTTP; `address` is host:port."""

    def __init__(self, address: str) -> None:
        self.address = address

    def has(self, repository: str, reference: str) -> bool:
        """Whether that tag or manifest digest is there."""
        status, _ = self._call("HEAD", f"/v2/{repository}/manifests/{reference}")
        return status == http.client.OK

    def put_blob(self, repository: str, digest: str, size: int, content: Iterator[bytes]) -> None:
        status, _ = self._call("HEAD", f"/v2/{repository}/blobs/{digest}")
        if status == http.client.OK:
            return
        status, headers = self._call("POST", f"/v2/{repository}/blobs/uploads/")
        self._expect(status, http.client.ACCEPTED, f"starting an upload to {repository}")
        place = headers["Location"].removeprefix(f"http://{self.address}")
        target = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        status, _ = self._call("PUT", target, content, size, "application/octet-stream")
        self._expect(status, http.client.CREATED, f"uploading {digest} to {repository}")

    def put_manifest(self, repository: str, tag: str, manifest: bytes) -> None:
        path = f"/v2/{repository}/manifests/{tag}"
        status, _ = self._call("PUT", path, iter([manifest]), len(manifest), MANIFEST)
        self._expect(status, http.client.CREATED, f"tagging {repository}:{tag}")

    def _call(
        self,
        method: str,
        path: str,
        body: Iterator[bytes] | None = None,
        size: int = 0,
        media_type: str = "",
    ) -> tuple[int, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection(self.address, timeout=120)
        headers = {"Accept": ACCEPT, "Content-Length": str(size)}
        if media_type:
            headers["Content-Type"] = media_type
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
            return response.status, response.headers
        except OSError as error:
            raise UserError(
                f"The image registry at http://{self.address} does not answer ({error}). "
                "Is the dev cluster up? `make cluster-status` tells, `make cluster-up` starts it."
            ) from error
        finally:
            connection.close()

    def _expect(self, status: int, wanted: int, doing: str) -> None:
        if status != wanted:
            raise UserError(f"{doing}: registry {self.address} answered {status}, not {wanted}")


def push_static(
    registry: str,
    name: str,
    files: Mapping[str, Path | bytes],
    entrypoint: Sequence[str],
    *,
    tag: str = "",
    user: str = f"{NOBODY}:{NOBODY}",
    folders: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    workdir: str = "/",
    arch: str = "amd64",
) -> str:
    """Push an image of static binaries and return its reference `registry/name:tag`.

    `files` maps paths in the image to files on disk (or text). Without `tag` the tag is the
    content's digest, so a reference always means the same bytes. What is there is not sent again.
    """
    settings = {
        "Entrypoint": list(entrypoint),
        "User": user,
        "WorkingDir": workdir,
        "Env": [f"{k}={v}" for k, v in (env or {}).items()],
    }
    layer = layer_of(files, folders)
    manifest, config = image_of(layer, settings, arch)
    described = describe(MANIFEST, manifest)
    tag = tag or described["digest"].removeprefix("sha256:")[:12]
    to = Registry(registry)
    if not to.has(name, described["digest"]):
        parsed = json.loads(manifest)
        to.put_blob(name, parsed["layers"][0]["digest"], layer.size, layer.chunks())
        to.put_blob(name, parsed["config"]["digest"], len(config), iter([config]))
    to.put_manifest(name, tag, manifest)
    return f"{registry}/{name}:{tag}"
