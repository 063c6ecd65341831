"""One cluster for all end-to-end tests: made and taken down, or what EVERLOOP_E2E_NAME names.

Whatever is made inside lives in a namespace of its own, which is removed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devcluster import binaries
from devcluster.paths import read_info
from e2e import RESTRICTED, Kube, s3_keys, s3_store

ROOT = Path(__file__).resolve().parents[2]
OWN_NAME = "e2e"
NAMESPACE = "e2e"
SPEEDUP = "8640"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Building binaries and images from nothing takes longer than any test does.

    What looks back on the whole tier comes last.
    """
    items.sort(key=lambda item: item.name == "test_what_the_tier_used_is_what_was_recorded")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def cluster_name() -> Iterator[str]:
    """The name of a cluster in which Everloop is installed, with an accelerated clock."""
    if name := os.environ.get("EVERLOOP_E2E_NAME"):
        yield name
        return
    try:
        _devcluster("devcluster", "up", "--name", OWN_NAME)
        _devcluster("devcluster.install", "--name", OWN_NAME, "--speedup", SPEEDUP)
        yield OWN_NAME
    finally:
        _devcluster("devcluster", "down", "--name", OWN_NAME)  # its images stay in the cache


@pytest.fixture(scope="session")
def kube(cluster_name: str) -> Kube:
    """kubectl for that cluster."""
    info = read_info(cluster_name)
    assert info is not None, f"there is no cluster '{cluster_name}'"
    return Kube(binaries.find("kubectl")["kubectl"], info["kubeconfig"])


@pytest.fixture(scope="session")
def registry(cluster_name: str) -> str:
    """The address of the cluster's image registry."""
    info = read_info(cluster_name)
    assert info is not None
    return str(info["registry"])


@pytest.fixture(scope="session")
def s3(kube: Kube, cluster_name: str) -> Any:
    """The cluster's S3 store as a file system, from outside."""
    info = read_info(cluster_name)
    assert info is not None
    return s3_store(kube, info["addons"]["s3"]["outside"])


@pytest.fixture(scope="module")
def bucket(s3: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """The bucket that the module calls BUCKET, emptied and removed afterwards."""
    name = str(request.module.BUCKET)
    s3.makedirs(name, exist_ok=True)
    yield name
    s3.rm(name, recursive=True)


@pytest.fixture(scope="session")
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace that enforces Pod Security `restricted`, with credentials of the S3 store."""
    if kube.run("get", "namespace", NAMESPACE, "--ignore-not-found"):
        _remove(kube)  # an earlier run was killed
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": RESTRICTED},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3-credentials", "namespace": NAMESPACE},
            "stringData": {
                **s3_keys(kube),
                "AWS_ENDPOINT_URL": "http://s3.storage.svc:8333",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        },
    )
    yield NAMESPACE
    _remove(kube)


def _remove(kube: Kube) -> None:
    # a namespace waits for its slowest pod's grace period: owners first, then pods at once
    for kinds in ("mlexp,mlmon,mldep,mltr", "deployments.apps", "replicasets.apps,jobs.batch"):
        kube.run("-n", NAMESPACE, "delete", kinds, "--all", "--cascade=orphan")
    kube.run("-n", NAMESPACE, "delete", "pods", "--all", "--grace-period=1")
    kube.run("delete", "namespace", NAMESPACE, "--timeout=120s")


def _devcluster(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=True)
