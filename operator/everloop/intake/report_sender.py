"""Whose report is it? From the pod of a token to its run, and who has just been refused."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from everloop import contract
from everloop.cluster import objects
from everloop.cluster.client import Client
from everloop.cluster.recent import Recent
from everloop.handlers.kind import EngineApi, Object
from everloop.intake.report_token import Caller
from everloop.plans.trainingrun_attempt import images

REFUSED_SECONDS = 10.0  # to ask the API server again would cost it two reads, and tell the same
REMEMBERED = 1000  # refusals
LOOKS = 10  # at a pod that is known, while its watch is behind
LOOK_SECONDS = 0.05


class RefusedError(Exception):
    """A report that is not taken; `status` is the HTTP status, the text says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Sender:
    """The run whose pod sent a report, and the pod as it is now."""

    run: Object
    job: Object
    pod: Object


class Senders:
    """Finds them. What is not known is read, so a pod that insists is answered from memory."""

    def __init__(self, api: EngineApi, client: Client) -> None:
        self._api = api
        self._client = client
        # (pod uid, namespace, run) → until when, and why
        self._refused = Recent[tuple[str, str, str], tuple[float, str]](REMEMBERED)

    async def find(self, caller: Caller, namespace: str, run: str) -> Sender:
        """Raises RefusedError, errors.ApiError."""
        asked = (caller.pod_uid, namespace, run)
        until, why = self._refused.get(asked, (0.0, ""))
        if time.monotonic() < until:
            raise RefusedError(403, why)
        try:
            return await self._find(caller, namespace, run)
        except RefusedError as error:
            self._refused[asked] = time.monotonic() + REFUSED_SECONDS, str(error)
            raise

    # --- inside -----------------------------------------------------------------------------------
    async def _find(self, caller: Caller, namespace: str, run: str) -> Sender:
        """The chain pod → Job → run, every link by uid, and all of one namespace.

        What is known of a pod is enough once it says which images all of its containers run; of
        the others only what never changes is read.
        """
        view, client = self._api.view, self._client
        if caller.namespace != namespace:
            raise _refused(f"the token is of namespace {caller.namespace}, not of {namespace}")
        pod = await self._pod(caller)
        if pod is None or objects.uid(pod) != caller.pod_uid:
            raise _refused(f"pod {caller.pod} of the token is gone")
        if not _living(pod):
            raise _refused(f"pod {caller.pod} has ended")
        stranger = _refused(f"pod {caller.pod} is not of a Job of TrainingRun {run}")
        owner = objects.controller(pod) or {}
        name = str(owner.get("name", "")) or "-"
        job = view.get("Job", namespace, name)
        if job is None or objects.uid(job) != owner.get("uid"):
            job = await client.get("batch/v1", "Job", namespace, name)
        if job is None or objects.uid(job) != owner.get("uid") or not _named(job, namespace, name):
            raise stranger
        wanted = (objects.controller(job) or {}).get("uid")
        parent = view.get("TrainingRun", namespace, run)
        if parent is None or objects.uid(parent) != wanted:
            parent = await client.get(contract.API_VERSION, "TrainingRun", namespace, run)
        if parent is None or objects.uid(parent) != wanted or not _named(parent, namespace, run):
            raise stranger
        return Sender(parent, job, pod)

    async def _pod(self, caller: Caller) -> Object | None:
        """What is known of the pod, or else the pod as it is now.

        When there is much to do its watch is behind for a moment, and a read would add to that.
        """
        for _ in range(LOOKS):
            pod = self._api.view.get("Pod", caller.namespace, caller.pod)
            if pod is None or objects.uid(pod) != caller.pod_uid or not _living(pod):
                break
            if _told(pod):
                return pod
            await asyncio.sleep(LOOK_SECONDS)
        return await self._client.get("v1", "Pod", caller.namespace, caller.pod)


def _refused(why: str) -> RefusedError:
    return RefusedError(403, why)


def _named(item: Object, namespace: str, name: str) -> bool:
    meta = objects.metadata(item)
    return (meta["namespace"], meta["name"]) == (namespace, name)


def _living(pod: Object) -> bool:
    over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return not (over or pod["metadata"].get("deletionTimestamp"))


def _told(pod: Object) -> bool:
    """Whether a living pod says which images it runs."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    containers = [*spec.get("initContainers", ()), *spec.get("containers", ())]
    running = status.get("phase") == "Running"
    return bool(running and containers) and len(images(pod)) == len(containers)
