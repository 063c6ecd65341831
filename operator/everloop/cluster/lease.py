"""Leader election by a Lease: one replica acts, and stops for good when it can no longer be sure.

Kopf's peering lets two operators act for a while (kopf#734), so the Lease is ours. A holder counts
as gone when its record has not changed for the whole lease by the watcher's own clock: clocks of
different machines are never compared.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any

from everloop import contract, errors
from everloop.cluster import objects
from everloop.cluster.client import MERGE, Client

logger = logging.getLogger(__name__)
API_VERSION = "coordination.k8s.io/v1"
KIND = "Lease"


class Lost(Exception):  # noqa: N818 (what happened)
    """The Lease could not be renewed in time, or is somebody else's: this process must end."""


class Lease:
    """One process's view of the Lease; `identity` is the pod's UID."""

    def __init__(
        self, client: Client, namespace: str, name: str, identity: str, seconds: float
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seconds = seconds
        self._renew_every = seconds / 5
        self._give_up_after = seconds * 0.8  # before any other replica may take over
        self._seen: tuple[str, float] = ("", 0.0)  # version of the record, when we saw it first
        self._renewed: float | None = None
        self._written = 0  # version of the record that we wrote last
        self.taken_at = 0  # the cluster's version when we became the holder, or later

    def held(self) -> bool:
        """Whether no other replica can hold it at this moment."""
        return self._renewed is not None and _clock() - self._renewed < self._give_up_after

    async def take(self) -> str:
        """Try once to become the holder: "" if this process is it, else who is. Raises no error."""
        started = _clock()
        try:
            holder = await self._try()
        except errors.ApiError as error:
            logger.warning("the Lease cannot be read or written: %s", error)
            return "?"
        if not holder:
            self._renewed = started
            self.taken_at = self._written
            logger.info("acting: the Lease %s is ours", self._name)
        return holder

    async def acquire(self) -> None:
        """Wait until this process is the holder."""
        waiting_for = ""
        while holder := await self.take():
            if holder not in (waiting_for, "?"):
                logger.info("standing by: the Lease %s is held by %s", self._name, holder)
                waiting_for = holder
            await asyncio.sleep(self._seconds / 10)

    async def hold(self) -> None:
        """Renew for ever, after `acquire`. Raises Lost."""
        pause = self._renew_every
        while True:
            await asyncio.sleep(pause)
            started = _clock()
            pause = self._renew_every
            try:
                async with asyncio.timeout(self._patience(started)):
                    holder = await self._renew()
                if holder:
                    self._renewed = None
                    raise Lost(f"the Lease {self._name} is held by {holder}")
                self._renewed = started
            except (errors.ApiError, TimeoutError) as error:
                logger.warning("the Lease was not renewed: %s", str(error) or "no answer in time")
                pause = self._renew_every / 4
            if not self.held():
                raise Lost(f"the Lease {self._name} was not renewed for {self._give_up_after} s")

    def _patience(self, now: float) -> float:
        """Seconds for one attempt: a slow answer is waited for, a dead connection leaves time for
        another attempt.
        """
        left = (self._renewed or now) + self._give_up_after - now
        return max(left / 2 if left > self._give_up_after / 2 else left, 0.1)

    async def release(self) -> None:
        """Let another replica begin at once."""
        self._renewed = None
        live = await self._read()
        if live is None or live["spec"].get("holderIdentity") != self._identity:
            return
        await self._write(live, {"holderIdentity": "", "leaseDurationSeconds": 1})

    # --- inside -----------------------------------------------------------------------------------
    async def _try(self) -> str:
        """Take the Lease if it is free; "" or who holds it."""
        live = await self._read()
        if live is None:
            await self._create()
            return ""
        holder = live["spec"].get("holderIdentity") or ""
        version = str(objects.version(live))
        if version != self._seen[0]:
            self._seen = (version, _clock())
        expired = _clock() - self._seen[1] > self._seconds
        if holder and holder != self._identity and not expired:
            return str(holder)
        transitions = int(live["spec"].get("leaseTransitions") or 0)
        try:
            await self._write(live, self._record() | {"leaseTransitions": transitions + 1})
        except errors.Conflict:
            return "another replica that was faster"
        return ""

    async def _renew(self) -> str:
        live = await self._read()
        if live is None:
            await self._create()
            return ""
        holder = live["spec"].get("holderIdentity") or ""
        if holder != self._identity:
            return str(holder) or "nobody"
        await self._write(live, {"renewTime": _now()})
        return ""

    async def _read(self) -> dict[str, Any] | None:
        return await self._client.get(API_VERSION, KIND, self._namespace, self._name)

    async def _write(self, live: dict[str, Any], spec: dict[str, Any]) -> None:
        meta = {"resourceVersion": live["metadata"]["resourceVersion"]}
        written = await self._client.patch(live, MERGE, {"metadata": meta, "spec": spec})
        self._written = objects.version(written)

    async def _create(self) -> None:
        self._written = objects.version(await self._client.create(self._manifest()))

    def _record(self) -> dict[str, Any]:
        now = _now()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(int(self._seconds), 1),
            "acquireTime": now,
            "renewTime": now,
        }

    def _manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {contract.MANAGED_BY: contract.MANAGED_BY_VALUE},
            },
            "spec": self._record(),
        }


def _clock() -> float:
    """Seconds, of a clock that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
