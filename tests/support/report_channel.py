"""The report channel beside a cluster in memory, and tokens that it takes, signed by `KEY`."""

from __future__ import annotations

import asyncio
import json
import posixpath
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp.test_utils import TestClient
from cryptography.hazmat.primitives.asymmetric import ec
from golden import FakeView
from runs import NAMESPACE, done, make_job, make_pod, make_run, running
from yarl import URL

from everloop import contract, errors
from everloop.cluster.cache import Cache
from everloop.handlers.engine import LiveKube
from everloop.handlers.kind import Key

Dict = dict[str, Any]
ISSUER = "https://kubernetes.default.svc"
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
RUN = make_run()
JOB = make_job(RUN)
POD = make_pod(JOB, done(), done(), running(), phase="Running")
PATH = contract.REPORT_PATH.format(namespace=NAMESPACE, run="flights-1")


@dataclass
class FakeCluster:
    """The part of cluster.client.Client that the channel uses."""

    objects: dict[tuple[str, str], Dict] = field(default_factory=dict)
    failure: errors.ApiError | None = None
    away: bool = False
    reads: list[str] = field(default_factory=list)
    creations: int = 0  # asked for
    answers: asyncio.Event = field(default_factory=asyncio.Event)  # to them: unset, it takes long

    def __post_init__(self) -> None:
        self.answers.set()

    def put(self, *items: Dict) -> None:
        for item in items:
            self.objects[item["kind"], item["metadata"]["name"]] = item

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Dict | None:
        """What the path leads to, which a name with slashes in it may turn anywhere."""
        self.reads.append(kind)
        _, found, kind, name = posixpath.normpath(f"/{namespace}/{kind}/{name}").split("/")
        item = self.objects.get((kind, name))
        return item if item and item["metadata"].get("namespace", found) == found else None

    async def create(self, manifest: Mapping[str, Any]) -> Dict:
        self.creations += 1
        await self.answers.wait()
        if self.failure is not None:
            raise self.failure
        key = manifest["kind"], manifest["metadata"]["name"]
        if key in self.objects:
            raise errors.AlreadyExists("taken", 409)
        metadata = {**manifest["metadata"], "resourceVersion": "1", "uid": f"uid-{key[1]}"}
        self.objects[key] = {**manifest, "metadata": metadata}
        return self.objects[key]

    async def asked(self, creations: int) -> None:
        """Wait until so many were asked for."""
        async with asyncio.timeout(5):
            while self.creations < creations:  # noqa: ASYNC110 (a count)
                await asyncio.sleep(0.01)

    async def patch(self, manifest: Mapping[str, Any], content_type: str, body: Dict) -> Dict:
        live = self.objects[manifest["kind"], manifest["metadata"]["name"]]
        if body["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
            raise errors.Conflict("changed", 409)
        live["data"] = {**live["data"], **body["data"]}
        live["metadata"]["resourceVersion"] += "1"
        return live

    async def request(self, method: str, path: str, **_: Any) -> Dict:
        self.reads.append(path)
        if self.away:
            raise errors.Transient("no answer")
        if path == "/openid/v1/jwks":
            public = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
            return {"keys": [{**public, "kid": "key-1", "use": "sig", "alg": "ES256"}]}
        return {"issuer": ISSUER}


@dataclass
class FakeEngine:
    cluster: FakeCluster = field(default_factory=FakeCluster)
    leader: bool = True
    woken: list[Key] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    view: FakeView = field(default_factory=lambda: FakeView([]))

    @property
    def metrics(self) -> FakeEngine:
        return self

    @property
    def kube(self) -> LiveKube:
        return LiveKube(self.cluster, Cache(), frozenset())  # type: ignore[arg-type]

    def increase(self, name: str, amount: int = 1) -> None:
        self.counted.append(name)

    def is_leader(self) -> bool:
        return self.leader

    def wake(self, key: Key) -> None:
        self.woken.append(key)


@dataclass
class Channel:
    cluster: FakeCluster
    engine: FakeEngine
    client: TestClient[Any, Any]

    async def post(
        self, body: Any, token: str | None = None, path: str | URL = PATH
    ) -> tuple[int, Dict]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {make_token() if token is None else token}"}
        async with self.client.post(path, data=data, headers=headers) as response:
            return response.status, await response.json()

    @property
    def kept(self) -> Dict | None:
        return self.cluster.objects.get(("ConfigMap", "flights-1-report"))


def make_token(key: ec.EllipticCurvePrivateKey = KEY, kid: str = "key-1", **claims: Any) -> str:
    base: Dict = {
        "iss": ISSUER,
        "aud": [contract.REPORT_AUDIENCE],
        "exp": time.time() + 600,
        "kubernetes.io": {
            "namespace": NAMESPACE,
            "pod": {"name": POD["metadata"]["name"], "uid": POD["metadata"]["uid"]},
        },
    }
    return jwt.encode({**base, **claims}, key, algorithm="ES256", headers={"kid": kid})
