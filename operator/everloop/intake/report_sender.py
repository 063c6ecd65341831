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


class _Stranger(Exception):  # noqa: N818 (says who, not what went wrong)
    """This pod has nothing to report; or for one run only, and not for the one it named."""

    def __init__(self, why: str = "", *, its_run: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.its_run = its_run


@dataclass(frozen=True)
class _Refusal:
    until: float  # monotonic seconds
    why: str  # empty: it is not of the run that it names
    its_run: str | None  # for which the pod would be looked at


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
        # By the pod's uid: names of runs it could make up for ever.
        self._refused = Recent[str, _Refusal](REMEMBERED)

    async def find(self, caller: Caller, namespace: str, run: str) -> Sender:
        """Raises RefusedError, errors.ApiError."""
        if caller.namespace != namespace:
            why = f"the token is of namespace {caller.namespace}, not of {namespace}"
            raise RefusedError(403, why)
        known = self._refused.get(caller.pod_uid)
        if known is not None and time.monotonic() < known.until and run != known.its_run:
            raise _refused(known.why, caller, run)
        try:
            return await self._find(caller, namespace, run)
        except _Stranger as error:
            until = time.monotonic() + REFUSED_SECONDS
            self._refused[caller.pod_uid] = _Refusal(until, error.why, error.its_run)
            raise _refused(error.why, caller, run) from None

    # --- inside -----------------------------------------------------------------------------------
    async def _find(self, caller: Caller, namespace: str, run: str) -> Sender:
        """The chain pod → Job → run, every link by uid, and all of one namespace.

        What is known of a pod is enough once it says which images all of its containers run; of
        the others only what never changes is read.
        """
        view, client = self._api.view, self._client
        pod = await self._pod(caller)
        if pod is None or objects.uid(pod) != caller.pod_uid:
            raise _Stranger(f"pod {caller.pod} of the token is gone")
        if not _living(pod):
            raise _Stranger(f"pod {caller.pod} has ended")
        owner = objects.controller(pod) or {}
        name = str(owner.get("name", "")) or "-"
        job = view.get("Job", namespace, name)
        if job is None or objects.uid(job) != owner.get("uid"):
            job = await client.get("batch/v1", "Job", namespace, name)
        if job is None or objects.uid(job) != owner.get("uid") or not _named(job, namespace, name):
            raise _Stranger
        its_run = objects.controller(job) or {}
        if its_run.get("name") != run:
            raise _Stranger(its_run=its_run.get("name"))
        wanted = its_run.get("uid")
        parent = view.get("TrainingRun", namespace, run)
        if parent is None or objects.uid(parent) != wanted:
            parent = await client.get(contract.API_VERSION, "TrainingRun", namespace, run)
        if parent is None or objects.uid(parent) != wanted or not _named(parent, namespace, run):
            raise _Stranger
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


def _refused(why: str, caller: Caller, run: str) -> RefusedError:
    return RefusedError(403, why or f"pod {caller.pod} is not of a Job of TrainingRun {run}")


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
