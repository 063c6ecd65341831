"""What end-to-end tests need of a cluster: kubectl with objects in and out, and waiting."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec

T = TypeVar("T")
Object = dict[str, Any]
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True)
class Kube:
    """kubectl for one cluster."""

    kubectl: Path
    kubeconfig: str

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """kubectl with these arguments; what it printed."""
        done = subprocess.run(
            [self.kubectl, f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def apply(self, *manifests: Object) -> None:
        """Apply objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.run("apply", "-f", "-", stdin=json.dumps(items))

    def get(self, kind: str, name: str, namespace: str) -> Object:
        """One object, empty when it does not exist."""
        text = self.run("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json")
        found: Object = json.loads(text) if text else {}
        return found

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """All objects of a kind with these labels."""
        text = self.run("get", kind, "-n", namespace, "-l", selector, "-o", "json")
        items: list[Object] = json.loads(text)["items"]
        return items


def condition(item: Object, type_: str) -> Object:
    """A condition of an object, empty if it is not there."""
    conditions = item.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == type_), {})


def is_true(item: Object, type_: str) -> bool:
    """Whether a condition is True."""
    return condition(item, type_).get("status") == "True"


def until(what: str, look: Callable[[], T], seconds: float, every: float = 0.3) -> T:
    """The first true answer of `look`; an assertion that names `what` if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not after {seconds:.0f} s"
        time.sleep(every)


def s3_keys(kube: Kube) -> dict[str, str]:
    """Credentials of the dev cluster's S3 store, as environment variables."""
    secret = kube.get("secret", "s3-credentials", "storage")["data"]
    return {key: base64.b64decode(secret[key]).decode() for key in S3_KEYS}


def s3_store(kube: Kube, address: str) -> Any:
    """The dev cluster's S3 store as a file system, at its address outside of the cluster."""
    keys = s3_keys(kube)
    return fsspec.filesystem(
        "s3",
        key=keys["AWS_ACCESS_KEY_ID"],
        secret=keys["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=address,
        config_kwargs={"s3": {"addressing_style": "path"}},
        use_listings_cache=False,
    )
