"""Builds and pushes the Dockerfile's targets, with docker where an engine answers, else buildah."""

from __future__ import annotations

import configparser
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster import binaries, packages
from devcluster.images.base import base_key, base_tar
from devcluster.paths import cache_folder
from devcluster.progress import run, step, succeeds

PREFIX = "everloop"
PUBLIC_BASE = "python:3.11-slim-bookworm"
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
BUILD_CA = "/etc/ssl/certs/build-ca.crt"  # where the Dockerfile mounts the secret `ca.crt`
# What a build needs of pip's settings; find-links and the like name folders of this machine only.
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")


class Docker:
    """A Docker engine with its own cache."""

    def base(self) -> str:
        return os.environ.get("EVERLOOP_BASE") or PUBLIC_BASE

    def has(self, image: str) -> bool:
        return succeeds(["docker", "image", "inspect", image])

    def build(self, context: Path, target: str, image: str) -> None:
        with secrets() as options:
            run(
                [
                    *("docker", "build", "--network=host"),
                    *("--build-arg", f"BASE={self.base()}", *options),
                    *("--target", target, "-t", image, context),
                ],
                env={**os.environ, "DOCKER_BUILDKIT": "1"},
            )

    def push(self, image: str, reference: str) -> None:
        run(["docker", "tag", image, reference])
        run(["docker", "push", "--quiet", reference])

    def clean(self) -> None:
        """Forget every image of ours; the engine's build cache is the user's to prune."""
        ours = run(["docker", "images", "-q", "--filter", f"reference={PREFIX}/*"]).split()
        if ours:
            run(["docker", "rmi", "--force", *sorted(set(ours))])


class Buildah:
    """buildah with a store of its own in the cache folder, on a base made by mmdebstrap."""

    def __init__(self) -> None:
        packages.require(packages.IMAGES)
        store = cache_folder() / "images" / "store"
        # Overlay does not stack on overlay: in a container there is only the slow copying driver.
        overlay = run(["stat", "-f", "-c", "%T", cache_folder()]).strip() != "overlayfs"
        self._command = ["buildah", "--root", str(store), "--runroot", f"{store}.run"]
        self._command += ["--storage-driver", "overlay" if overlay else "vfs"]

    def base(self) -> str:
        return os.environ.get("EVERLOOP_BASE") or f"localhost/everloop/base:{base_key()}"

    def has(self, image: str) -> bool:
        return succeeds([*self._command, "inspect", "--type", "image", image])

    def build(self, context: Path, target: str, image: str) -> None:
        self._ensure_base()
        # The compiler of the shim needs more than the 1,024 that buildah gives by itself.
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with secrets() as options:
            run(
                [
                    *(*self._command, "bud", "--quiet", "--layers", "--pull-never"),
                    *("--isolation=oci", f"--runtime={binaries.system('runc')}", "--network=host"),
                    *("--ulimit", f"nofile={open_files}:{open_files}"),
                    *("--build-arg", f"BASE={self.base()}", *options),
                    *("--target", target, "-t", image, "-f", context / "Dockerfile", context),
                ]
            )

    def push(self, image: str, reference: str) -> None:
        # Compressing costs more than it saves on the way to a registry on this machine.
        options = ["--quiet", "--tls-verify=false", "--disable-compression"]
        run([*self._command, "push", *options, image, f"docker://{reference}"])

    def clean(self) -> None:
        """Forget every image, and the base."""
        run([*self._command, "rmi", "--all", "--force"])
        for tar in (cache_folder() / "images").glob("base-*"):
            tar.unlink()

    def _ensure_base(self) -> None:
        base = self.base()
        if self.has(base):
            return
        if "EVERLOOP_BASE" in os.environ:
            with step(f"pulling {base}"):
                run([*self._command, "pull", "--quiet", base])
            return
        tar = base_tar()
        with step("base image into buildah's store"), tempfile.TemporaryDirectory() as folder:
            recipe = Path(folder) / "Dockerfile"
            recipe.write_text(f"FROM scratch\nADD {tar.name} /\n")
            run([*self._command, "bud", "--quiet", "-t", base, "-f", recipe, tar.parent])


def find_builder() -> Docker | Buildah:
    """The Docker engine when one answers."""
    return Docker() if packages.docker_answers() else Buildah()


@contextmanager
def secrets() -> Iterator[list[str]]:
    """Options that lend this machine's pip settings and CA bundle to a build's RUN lines."""
    bundle = next((Path(p) for p in CA_BUNDLES if Path(p).exists()), None)
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "pip.conf"
        conf.write_text(pip_conf(with_ca=bundle is not None))
        options = ["--secret", f"id=pip.conf,src={conf}"]
        if bundle:
            options += ["--secret", f"id=ca.crt,src={bundle}"]
        yield options


def pip_conf(with_ca: bool) -> str:
    """pip's settings of this machine (files, then PIP_* variables), as far as they travel."""
    files = ["/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf"]
    files.append(os.environ.get("PIP_CONFIG_FILE", ""))
    found = configparser.ConfigParser(interpolation=None)
    found.read([Path(file).expanduser() for file in files if file])
    lines = ["[global]"]
    for name in PIP_SETTINGS:
        variable = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
        value = variable or found.get("global", name, fallback="")
        if value:
            lines.append(f"{name} = {' '.join(value.split())}")
    if with_ca:
        lines.append(f"cert = {BUILD_CA}")
    return "\n".join(lines) + "\n"
