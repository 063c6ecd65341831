"""Live reads: what is listed of an owner's is its own, whatever bears the same labels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from everloop.cluster.cache import Cache
from everloop.handlers.engine import LiveKube

Dict = dict[str, Any]
JOB = {"kind": "Job", "metadata": {"name": "a-1", "namespace": "n", "uid": "u-job"}}


def pod(name: str, owner: str) -> Dict:
    reference = {"kind": "Job", "uid": owner, "controller": True}
    return {"metadata": {"name": name, "namespace": "n", "ownerReferences": [reference]}}


class Pages:
    """A client whose list has two pages."""

    def __init__(self) -> None:
        self.asked: tuple[Any, ...] = ()

    async def pages(self, *asked: Any) -> AsyncIterator[Dict]:
        self.asked = asked
        yield {"items": [pod("first", "u-job"), pod("a-strangers", "u-other")]}
        yield {"items": [pod("second", "u-job")]}


async def test_children_are_the_owners_own_of_all_pages() -> None:
    client = Pages()
    kube = LiveKube(client, Cache(), frozenset())  # type: ignore[arg-type]
    found = await kube.children("v1", "Pod", JOB, "job-name=a-1")
    assert client.asked == ("v1", "Pod", "n", "job-name=a-1")
    assert [item["metadata"]["name"] for item in found] == ["first", "second"]
