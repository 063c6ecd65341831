"""Where the demo plays: what is already in the cluster, and what an earlier run has left."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import fsspec

from demo.cluster import Cluster, Object, UnexpectedError, wait_for
from demo.data import BUCKET, EXAMPLE, Store
from demo.timeline import Timeline

NAMESPACE = "flights"
MANIFESTS = EXAMPLE / "manifests"
S3_ENDPOINT = "http://s3.storage.svc:8333"  # as pods of the dev cluster reach it (its add-ons)
S3_SECRET = "/api/v1/namespaces/storage/secrets/s3-credentials"
OURS = "mlexp,mlmon,mldep,mltr"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True)
class Operator:
    """What the installed chart says."""

    namespace: str
    speedup: float
    prometheus: str  # API path of Prometheus' Service


async def find_operator(cluster: Cluster) -> Operator:
    """The ready operator. Raises UnexpectedError with what to type when there is none."""
    found = await cluster.items(
        "/apis/apps/v1/deployments", labelSelector="app.kubernetes.io/name=everloop"
    )
    if not found:
        raise UnexpectedError("Everloop is not installed in this cluster: make install")
    deployment = found[0]
    if not deployment.get("status", {}).get("readyReplicas"):
        raise UnexpectedError(
            f"the operator is not ready: kubectl -n {deployment['metadata']['namespace']} get pods"
        )
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    env = {one["name"]: one.get("value", "") for one in container["env"]}
    url = urlsplit(env["EVERLOOP_PROMETHEUS_URL"])
    if not url.hostname:
        raise UnexpectedError(
            "the chart has no prometheus.url, so drift cannot be seen: make install"
        )
    service, namespace = url.hostname.split(".")[:2]
    return Operator(
        deployment["metadata"]["namespace"],
        float(env["EVERLOOP_CLOCK_SPEEDUP"]),
        f"/api/v1/namespaces/{namespace}/services/{service}:{url.port or 80}",
    )


@asynccontextmanager
async def open_store(cluster: Cluster) -> AsyncIterator[Store]:
    """The dev cluster's S3 store, reachable from here."""
    secret = await cluster.get(S3_SECRET)
    if secret is None:
        raise UnexpectedError("the cluster has no S3 store: make cluster-up")
    keys = [base64.b64decode(secret["data"][key]).decode() for key in KEYS]
    host = urlsplit(S3_ENDPOINT)
    service, namespace = str(host.hostname).split(".")[:2]
    async with cluster.forward(namespace, f"svc/{service}", int(host.port or 80)) as address:
        yield Store(address, *keys)


async def prepare(cluster: Cluster, store: Store) -> None:
    """Namespace, training code and store credentials, as a user makes them."""
    await cluster.apply(MANIFESTS / "00-namespace.yaml")
    await cluster.apply(_training_code(EXAMPLE / "training"))
    await cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3-credentials", "namespace": NAMESPACE},
            "stringData": {
                "AWS_ENDPOINT_URL": S3_ENDPOINT,
                "AWS_ACCESS_KEY_ID": store.access_key,
                "AWS_SECRET_ACCESS_KEY": store.secret_key,
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        }
    )


def _training_code(folder: Path) -> Object:
    """A ConfigMap with the training code, each file a key: fine for small scripts; else use git."""
    files = {path.name: path.read_text() for path in sorted(folder.glob("*.py"))}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "flights-training", "namespace": NAMESPACE},
        "data": files,
    }


async def clean(cluster: Cluster, store: Store, timeline: Timeline) -> None:
    """Remove what an earlier run left: the namespace with everything in it, and the bucket."""
    path = f"/api/v1/namespaces/{NAMESPACE}"
    if await cluster.get(path):
        timeline.line(f"removing namespace {NAMESPACE} of an earlier run ...")
        # A namespace waits for its slowest pod's grace period, a minute. Nobody sends requests any
        # more, so servers need not wait until routers forget them: owners first, then pods at once.
        for kinds in (OURS, "deployments.apps", "replicasets.apps,jobs.batch"):
            await cluster.run("-n", NAMESPACE, "delete", kinds, "--all", "--cascade=orphan")
        await cluster.run("-n", NAMESPACE, "delete", "pods", "--all", "--grace-period=1")
        await cluster.run("delete", "namespace", NAMESPACE, "--wait=false")

        async def gone() -> bool:
            return await cluster.get(path) is None

        await wait_for(f"namespace {NAMESPACE} is gone", gone, 90)
    await asyncio.to_thread(_empty_bucket, store)


def _empty_bucket(store: Store) -> None:
    filesystem = fsspec.filesystem("s3", **store.options())
    filesystem.invalidate_cache()
    if filesystem.exists(BUCKET):
        filesystem.rm(BUCKET, recursive=True)
    filesystem.invalidate_cache()
