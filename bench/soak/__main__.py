"""`python -m bench.soak [--hours 2]`: the loop at an accelerated pace, for hours, on a dev cluster.

Need after need: inputs move, one run is made, its version is promoted, the alert falls silent.
Once a minute memory, open files, tasks and objects are kept in a file. Ends with 1 when a claim
does not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT)]

from bench.soak import cluster, report  # noqa: E402
from bench.soak.cycle import Loop  # noqa: E402
from bench.soak.world import World  # noqa: E402

SAMPLE_SECONDS = 60.0


class Sampler:
    """Keeps a sample a minute until the block ends."""

    def __init__(self, world: World, file: Path) -> None:
        self._world, self._file = world, file
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=120)

    def _keep(self) -> None:
        due = self._started
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += SAMPLE_SECONDS
            sample: dict[str, object] = {"t": round(time.monotonic() - self._started, 1)}
            try:
                sample["operator"] = cluster.operator(self._world.kube)
                sample["objects"] = self._world.objects()
                sample["memory"] = cluster.containers(self._world.kube)
            except (AssertionError, OSError, LookupError, ValueError) as error:
                sample["problem"] = str(error)  # a restart is under way, or the machine is busy
            keep(self._file, sample)


def keep(file: Path, item: object) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(item) + "\n")


def soak(options: argparse.Namespace) -> str:
    """All cycles; what ended them early, if anything did."""
    folder: Path = options.results
    folder.mkdir(parents=True, exist_ok=True)
    for name in (report.SAMPLES, report.CYCLES, report.END):
        (folder / name).unlink(missing_ok=True)
    world = World(*cluster.connect(options.name))
    world.begin(options.window)
    loop = Loop(world)
    print(f"begins with {loop.base}", flush=True)
    began = time.monotonic()
    end = began + 3600 * options.hours
    with Sampler(world, folder / report.SAMPLES):
        while time.monotonic() < end:
            try:
                done = loop.play()
            except (AssertionError, LookupError, RuntimeError) as error:
                traceback.print_exc()
                return f"cycle {loop.needs}: {error}; {loop.wrong}"
            keep(folder / report.CYCLES, done | {"t": round(time.monotonic() - began, 1)})
            phases = ", ".join(f"{name} {at:.0f}" for name, at in done["seconds"].items())
            also = "; ".join(done["disturbed"])
            print(f"cycle {done['number']}: {done['run']} → {done['version']}; seconds: {phases}"
                  f"{f'; {also}' if also else ''}", flush=True)  # fmt: skip
    return ""


def judge(folder: Path, since: float) -> int:
    """Print all claims; the number of those that do not hold."""
    samples, cycles = report.read(folder, report.SAMPLES), report.read(folder, report.CYCLES)
    ends = report.read(folder, report.END)
    problem = ends[-1]["problem"] if ends else "it has not ended"
    found = report.claims(samples, cycles, problem, since)
    for claim in found:
        print(f"{'  holds' if claim.holds else '  FAILS'}: {claim.text}")
    for text in report.figures(samples, cycles, since):
        print(f"  {text}")
    return sum(not claim.holds for claim in found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--name", default="soak", help="which dev cluster (default: soak)")
    parser.add_argument("--speedup", type=float, default=8640.0, help="clock.speedup of the chart")
    parser.add_argument("--window", default="2d", help="of the Monitor, in accelerated time")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up")
    parser.add_argument("--results", type=Path, default=ROOT / "dist" / "soak")
    parser.add_argument("--judge", action="store_true", help="only judge what --results holds")
    parser.add_argument("--since", type=float, default=0, help="judge from this minute on")
    parser.add_argument("--chart", type=Path, help="draw what is kept into this SVG file")
    options = parser.parse_args()
    if not options.judge:
        started = cluster.up(options.name, options.speedup)
        try:
            problem = soak(options)
            keep(options.results / report.END, {"problem": problem})
        finally:
            if started and not options.keep:
                cluster.down(options.name)
    failed = judge(options.results, 60 * options.since)
    if options.chart:
        # Nothing else needs a library for pictures.
        from bench.soak import chart  # noqa: PLC0415

        chart.draw(report.read(options.results, report.SAMPLES), options.chart)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
