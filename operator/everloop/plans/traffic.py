"""Who gets which share of the traffic: pure arithmetic on percentages.

Two sets say what is known of the servers. `ready` versions have a server that is ready now: what
they have they keep. `usable` versions have all their servers ready, and every router reaches them:
only they are given more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

Weights = dict[str, int]


def allocate(
    target: Mapping[str, int],
    current: Mapping[str, int],
    ready: Collection[str],
    usable: Collection[str],
) -> Weights:
    """Weights to ask the routers for: they sum to 100, or are empty while nothing has ever served.

    The target once all of it can take its share:

    >>> allocate({"v1": 90, "v2": 10}, {"v1": 100}, ready={"v1", "v2"}, usable={"v1", "v2"})
    {'v1': 90, 'v2': 10}

    Until then the old weights stay, also when v2 is there but some of its servers are not:

    >>> allocate({"v2": 100}, {"v1": 100}, ready={"v1", "v2"}, usable={"v1"})
    {'v1': 100}

    With no old ones, the versions that are there share the traffic in proportion:

    >>> allocate({"v1": 60, "v2": 20, "v3": 20}, {}, ready={"v1", "v2"}, usable={"v1", "v2"})
    {'v1': 75, 'v2': 25}

    A version that loses its servers gives its share to the others, and gets it back by the target:

    >>> allocate({"v1": 90, "v2": 10}, {"v1": 90, "v2": 10}, ready={"v2"}, usable={"v2"})
    {'v2': 100}

    When nothing is ready nothing is gained by moving:

    >>> allocate({"v1": 90, "v2": 10}, {"v1": 90, "v2": 10}, ready=(), usable=())
    {'v1': 90, 'v2': 10}
    """
    wanted = _positive(target)
    now = _positive(current)
    if wanted and _can_take(wanted, now, ready, usable):
        return wanted
    keeping = {name: weight for name, weight in now.items() if name in ready}
    if keeping:
        return rescale(keeping)
    arriving = {name: weight for name, weight in wanted.items() if name in usable}
    if arriving:
        return rescale(arriving)
    # Better any version of the model than none.
    spare = sorted(set(usable) | set(ready))
    if spare and now:
        return {spare[-1]: 100}
    return now


def _can_take(
    wanted: Weights, now: Weights, ready: Collection[str], usable: Collection[str]
) -> bool:
    """Whether each version can: all its servers are there, or it keeps what it has, or less."""
    return all(
        name in usable or (name in ready and now.get(name, 0) >= weight)
        for name, weight in wanted.items()
    )


def rescale(weights: Mapping[str, int]) -> Weights:
    """The same proportions with a sum of 100, in whole percent, by largest remainder.

    >>> rescale({"a": 1, "b": 1, "c": 1})
    {'a': 34, 'b': 33, 'c': 33}
    """
    total = sum(weights.values())
    if total == 100:
        return dict(weights)
    exact = {name: 100 * weight / total for name, weight in weights.items()}
    whole = {name: int(share) for name, share in exact.items()}
    missing = 100 - sum(whole.values())
    by_remainder = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_remainder[:missing]:
        whole[name] += 1
    return {name: weight for name, weight in whole.items() if weight}


def agree(answers: Collection[Mapping[str, int] | None]) -> Weights | None:
    """What all routers say; None if one does not answer, if they differ, or if there is none.

    >>> agree([{"v1": 100}, {"v1": 100}])
    {'v1': 100}
    >>> agree([{"v1": 100}, {"v1": 90, "v2": 10}]) is None
    True
    """
    first, *others = list(answers) or [None]
    if first is None or any(other != first for other in others):
        return None
    return _positive(first)


def _positive(weights: Mapping[str, int]) -> Weights:
    return {name: weight for name, weight in weights.items() if weight > 0}
