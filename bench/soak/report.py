"""The claims of a soak, from what it has kept: samples and cycles, each a line of JSON."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.soak.manifests import NAME
from bench.soak.verdict import (
    MIB,
    WARM_UP,
    Claim,
    differences,
    expected,
    flat,
    last_process,
    line,
    memory,
    thirds,
)

SERVER = "model-server"
FDS, TASKS = 2.0, 2.0  # along the line; a watch that is opened anew may overlap the old one
SAMPLES, CYCLES, END = "samples.jsonl", "cycles.jsonl", "end.json"
MORE_WRITES = 1.1  # a need may cost at most this much more in the last third
JUDGED = 20  # samples at least, and needs
GAP_SECONDS = 300.0  # the longest that nothing is measured; a restart of the operator is shorter
Kept = Sequence[Mapping[str, Any]]


def read(folder: Path, name: str) -> list[Any]:
    """What was kept in a file, oldest first."""
    file = folder / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def claims(samples: Kept, cycles: Kept, problem: str, since: float = 0) -> list[Claim]:
    """Everything that is promised; what must not grow, from so many seconds on."""
    found = [Claim(f"it went on to the end{f': {problem}' if problem else ''}", not problem)]
    if not cycles:
        return found
    last = cycles[-1]
    needs, runs = last["needs"], last["runs"]
    found.append(Claim(f"{needs} needs, {runs} runs", needs == runs))
    own = [sample for sample in last_process(samples) if sample["t"] >= since]
    if len(own) < JUDGED:
        return [*found, Claim(f"{len(own)} samples can be judged, {JUDGED} wanted", False)]
    found.append(Claim(f"{needs} needs, at least {JUDGED} wanted", needs >= JUDGED))
    found += [leaders(samples, cycles), sampled(samples, last["t"]), answered(last["answers"])]
    at = [float(sample["t"]) for sample in own]

    def series(name: str) -> list[tuple[float, float]]:
        values = [float(sample["operator"][name]) for sample in own]
        return list(zip(at, values, strict=True))

    # Router and servers know nothing of the operator's restarts: they are judged over all the time.
    late = [sample for sample in samples if sample["t"] >= WARM_UP]
    found += [
        memory("the operator's memory", series("resident"), ended(own)),
        flat("its open files", series("fds"), FDS),
        flat("its tasks", series("tasks"), TASKS),
        memory("the router's memory", container(late, f"{NAME}-router", "router"), ended(late)),
        memory("the most memory of each server", container(samples, NAME, SERVER), ended(samples)),
    ]
    found.append(objects(cycles))
    mine = [cycle for cycle in cycles if cycle["operator"]["pod"] == own[-1]["operator"]["pod"]]
    totals = [cycle["operator"]["writes"] for cycle in mine]
    each = [after - before for before, after in pairwise(totals)]
    if each:
        early, late = thirds(each)
        found.append(
            Claim(
                f"{early:.0f} writes a need in the first third, {late:.0f} in the last; at most "
                f"{MORE_WRITES:.1f} times as many wanted",
                late <= MORE_WRITES * early,
            )
        )
    ends = [sample["operator"] for sample in samples if sample.get("operator")]
    for name, text in (("dropped", "Events dropped"), ("bugs", "unforeseen errors")):
        most = max(end[name] for end in ends)
        found.append(Claim(f"{most:.0f} {text}", most == 0))
    return found


def leaders(samples: Kept, cycles: Kept) -> Claim:
    """Whether only those processes ended that were made to."""
    seen = {
        (sample["operator"]["pod"], sample["operator"]["started"])
        for sample in samples
        if sample.get("operator")
    }
    ended_by_us = sum(
        text.startswith("operator deleted") for cycle in cycles for text in cycle["disturbed"]
    )
    return Claim(
        f"{len(seen)} processes led, {ended_by_us} were ended by hand: at most one more wanted",
        len(seen) <= ended_by_us + 1,
    )


def sampled(samples: Kept, end: float) -> Claim:
    """Whether measuring went on until the end of the last cycle."""
    times = [float(sample["t"]) for sample in samples if sample.get("operator")]
    longest = max(after - before for before, after in pairwise([0.0, *times, end]))
    return Claim(
        f"{len(times)} samples, nothing measured for {longest:.0f} s at most; "
        f"at most {GAP_SECONDS:.0f} s wanted",
        longest <= GAP_SECONDS,
    )


def answered(answers: Mapping[str, int]) -> Claim:
    """Whether every request that was sent was answered with 200."""
    sent = {what: count for what, count in answers.items() if what != "not sent"}
    return Claim(f"answers: {sent}, only 200 wanted", set(sent) == {"200"})


def objects(cycles: Kept) -> Claim:
    """Whether every cycle left what is known, and nothing else."""
    wrong = [
        f"cycle {cycle['number']}: {text}"
        for cycle in cycles
        for text in differences(
            expected(cycle["base"], cycle["needs"], cycle["byHand"]), cycle["objects"]
        )
    ]
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(cycles[-1]["objects"].items()))
    return Claim(
        "each need leaves one run, its report, configuration, version, decision and promotion, "
        + (f"not: {'; '.join(wrong)}" if wrong else f"and nothing else; in the end {kinds}"),
        not wrong,
    )


def ended(samples: Kept) -> float:
    """Runs that came to be between the first and the last sample."""
    counts = [one["objects"].get("trainingrun", 0) for one in samples if one.get("objects")]
    return float(counts[-1] - counts[0])


def container(samples: Kept, prefix: str, name: str) -> list[tuple[float, float]]:
    """For each pod with this prefix when it was seen first, and its container's resident bytes.

    A pod that is there all the time gives all of its samples. Model servers are new in each cycle,
    and take their memory within seconds of their start: each gives the most that was seen of it.
    """
    seen: dict[str, list[tuple[float, float]]] = {}
    for sample in samples:
        for key, value in sample.get("memory", {}).items():
            if key.startswith(prefix) and key.endswith(f"/{name}") and value > 0:
                seen.setdefault(key, []).append((float(sample["t"]), float(value)))
    if len(seen) == 1:
        return next(iter(seen.values()))
    return [(points[0][0], max(value for _, value in points)) for points in seen.values()]


def figures(samples: Kept, cycles: Kept, since: float = 0) -> list[str]:
    """What is measured and not promised."""
    if not cycles:
        return []
    took = [cycle["seconds"]["rest"] for cycle in cycles]
    alerts = [cycle["seconds"]["run made"] for cycle in cycles]
    lines = [
        f"{len(cycles)} cycles; from the shift to the run {statistics.median(alerts):.0f} s, to "
        f"rest {statistics.median(took):.0f} s (median)",
        f"requests the client did not send: {cycles[-1]['answers'].get('not sent', 0)}",
    ]
    done = Counter(text for cycle in cycles for text in cycle["disturbed"])
    lines.append(f"disturbances: {dict(done)}")
    own = [sample for sample in last_process(samples) if sample["t"] >= since]
    if len(own) >= 2:
        points = [(float(one["t"]), float(one["operator"]["resident"])) for one in own]
        fit = line(points)
        lines.append(
            f"operator's memory: {fit.slope * 3600 / MIB:+.2f} MiB an hour along the line, "
            f"{min(v for _, v in points) / MIB:.1f} to {max(v for _, v in points) / MIB:.1f} MiB"
        )
        errors = {what: count for what, count in own[-1]["operator"]["errors"].items() if count}
        lines.append(f"passes of the last operator that failed and were tried again: {errors}")
    return lines
