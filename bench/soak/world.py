"""The world around a model: what clients send, what is labelled, what people do by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from e2e import Kube, Object, condition, is_true, s3_keys, until

from bench.soak import manifests
from bench.soak.cluster import count_objects, operator
from bench.soak.manifests import HISTORY, NAME, OTHER
from everloop.cluster.store import IN_USE

ROWS = 3000  # of a day
DAYS_KEPT = 3
PLACES, APART = 5, 20.0  # inputs move by twenty standard deviations, and come round again
OTHERS = IN_USE + 50  # versions of others
PATIENCE = 600.0  # for anything: the machine has other things to do
EVERY = 2.0


def mean_of(day: int) -> float:
    """Around what the inputs of a day lie.

    >>> [mean_of(day) for day in (0, 1, 6)]
    [0.0, 20.0, 20.0]
    """
    return APART * (day % PLACES)


def rows_of(day: int) -> pd.DataFrame:
    """The labelled rows of a day: whether x, with some noise, is above the middle."""
    random = np.random.default_rng(day)
    x, y = random.normal(mean_of(day), 1, ROWS), random.normal(0, 1, ROWS)
    label = (x + random.normal(0, 0.3, ROWS) > mean_of(day)).astype(np.int64)
    return pd.DataFrame({"x": x, "y": y, "label": label})


class World:
    """What exists, and how often what was done."""

    def __init__(self, kube: Kube, store: Any) -> None:
        self.kube = kube
        self._store = store
        self.day = 0
        self.by_hand = 0

    # --- what the world does ----------------------------------------------------------------------
    def begin(self, window: str) -> None:
        """From nothing to a first version that serves and is watched."""
        self._clear()
        self._store.makedirs(NAME, exist_ok=True)
        self.kube.apply(*manifests.surroundings(s3_keys(self.kube)))
        self._write_day()
        self.kube.apply(manifests.run("soak-first", NAME))
        self.wait("the first version", lambda: self.version_of("soak-first"))
        self._fill()
        self.kube.apply(manifests.deployment())
        self.wait("it serves", lambda: is_true(self.get("mldep", NAME), "Ready"))
        servers = f"everloop.dev/deployment={NAME},everloop.dev/component=model-server"
        pods = self.kube.list("pods", NAME, servers)
        image = pods[0]["spec"]["containers"][0]["image"]
        self.kube.apply(manifests.traffic(image, mean_of(0)), manifests.monitor(window))
        self.wait("the Monitor sees no drift", lambda: self.silent(f"{NAME}-v1"))

    def shift(self) -> None:
        """Clients send something else from now on, and what it meant is labelled."""
        self.day += 1
        mean = mean_of(self.day)
        script = f"echo {mean} > /tmp/mean.new && mv /tmp/mean.new /tmp/mean"
        self.kube.run("exec", "traffic", "-n", NAME, "--", "sh", "-c", script)
        self._write_day()

    def run_by_hand(self) -> None:
        """Somebody trains another model."""
        self.by_hand += 1
        name = f"by-hand-{self.by_hand}"
        self.kube.apply(manifests.run(name, OTHER))
        self.wait(f"{name} ends", lambda: self.version_of(name))

    def edit_by_hand(self, number: int) -> str:
        """Somebody changes or deletes what the operator made; it has to be put right."""
        if number % 3 == 0:
            server = f"{NAME}-{self.champion().removeprefix(f'{NAME}-')}"
            patch = json.dumps({"spec": {"replicas": 2}})
            self.kube.run("patch", "deployments.apps", server, "-n", NAME, "-p", patch)
            self.wait("one replica", lambda: self._replicas(server) == 1)
            return "a server scaled to 2"
        if number % 3 == 1:
            before = self.kube.list("prometheusrules", NAME)[0]["metadata"]
            self.kube.run("delete", "prometheusrules", before["name"], "-n", NAME)
            self.wait("the rules are back", lambda: self.kube.list("prometheusrules", NAME))
            monitor = lambda: self.get("mlmon", NAME)  # noqa: E731
            self.wait("they are loaded", lambda: is_true(monitor(), "RulesLoaded"))
            return "the rules deleted"
        label = "everloop.dev/deployment"
        self.kube.run("label", "service", NAME, "-n", NAME, f"{label}=nobody", "--overwrite")
        labels = lambda: self.get("service", NAME)["metadata"]["labels"]  # noqa: E731
        self.wait("the label is back", lambda: labels()[label] == NAME)
        return "a label of the Service changed"

    def restart_operator(self) -> None:
        """Its pod is deleted; another one leads."""
        old = operator(self.kube)["pod"]
        self.kube.run("delete", "pod", old, "-n", "everloop-system", "--wait=false")
        self.wait("another operator leads", lambda: operator(self.kube).get("pod", old) != old)

    # --- what there is ----------------------------------------------------------------------------
    def get(self, kind: str, name: str) -> Object:
        return self.kube.get(kind, name, NAME)

    def champion(self) -> str:
        return str(self.get("mldep", NAME).get("status", {}).get("champion") or "")

    def version_of(self, run: str) -> str:
        """The version that a run registered, empty until then. A failed run is an error."""
        found = self.get("mltr", run)
        if is_true(found, "Failed"):
            raise RuntimeError(f"{run} failed: {condition(found, 'Failed')}")
        version = found.get("status", {}).get("modelVersion") or ""
        if is_true(found, "Complete") and not version:
            raise RuntimeError(f"{run} registered nothing: {condition(found, 'Ready')}")
        return version if is_true(found, "Complete") else ""

    def caused(self) -> list[Object]:
        """Runs that the Monitor has made, the oldest first."""
        runs = self.kube.list("mltr", NAME, f"everloop.dev/monitor={NAME}")
        return sorted(runs, key=lambda run: run["metadata"]["creationTimestamp"])

    def decisions(self) -> int:
        """Decisions to retrain that are on record."""
        records = self.kube.list("controllerrevisions", NAME, f"everloop.dev/monitor={NAME}")
        return sum(record["data"]["type"] == "Retraining" for record in records)

    def silent(self, version: str) -> bool:
        """Whether the Monitor watches this version, and sees no drift."""
        status = self.get("mlmon", NAME).get("status", {})
        states = {one["name"]: one["state"] for one in status.get("signals") or []}
        return status.get("champion") == version and states.get("InputDrift") == "OK"

    def answers(self) -> dict[str, int]:
        """What clients were answered, by status."""
        lines = self.kube.run("logs", "traffic", "-n", NAME, "--tail=1").splitlines()
        found: dict[str, int] = json.loads(lines[-1])["answers"] if lines else {}
        return found

    def objects(self) -> dict[str, int]:
        return count_objects(self.kube)

    def wait(self, what: str, look: Callable[[], Any]) -> Any:
        """The first true answer."""
        return until(what, look, PATIENCE, every=EVERY)

    # --- inside -----------------------------------------------------------------------------------
    def _replicas(self, server: str) -> int:
        return int(self.get("deployments.apps", server)["spec"]["replicas"])

    def _write_day(self) -> None:
        folder = f"{NAME}/days"
        with self._store.open(f"{folder}/day={self.day:05}.parquet", "wb") as file:
            rows_of(self.day).to_parquet(file, index=False)
        if self.day >= DAYS_KEPT:
            self._store.rm(f"{folder}/day={self.day - DAYS_KEPT:05}.parquet")

    def _fill(self) -> None:
        """Others have a history: the operator holds as many objects unpacked as it ever will.

        Until there are so many in a cluster its memory grows with each, which is no leak.
        """
        first, *versions = manifests.history(self.kube.list("mlmv", NAME)[0], OTHERS)
        self.kube.apply(first)
        items = {"apiVersion": "v1", "kind": "List", "items": versions}
        # not `apply`, which would keep each of them twice, in an annotation
        command = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        self.kube.run(*command, stdin=json.dumps(items))

    def _clear(self) -> None:
        self.kube.run("delete", "namespace", HISTORY, "--ignore-not-found", "--timeout=300s")
        if self.kube.run("get", "namespace", NAME, "--ignore-not-found"):
            for kinds in ("mlexp,mlmon,mldep,mltr", "deployments.apps", "replicasets.apps,jobs"):
                self.kube.run("-n", NAME, "delete", kinds, "--all", "--cascade=orphan")
            self.kube.run("-n", NAME, "delete", "pods", "--all", "--grace-period=1")
            self.kube.run("delete", "namespace", NAME, "--timeout=300s")
        if self._store.exists(NAME):
            self._store.rm(NAME, recursive=True)
