"""Whatever happens, in whatever order: traffic has somewhere to go; nobody skips an analysis."""

from __future__ import annotations

from deployment_world import ROLLOUT, World, make_deployment
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.plans.traffic import allocate

VERSIONS = ["v1", "v2", "v3", "v4"]
shares = st.lists(st.integers(0, 100), min_size=1, max_size=4).filter(lambda parts: sum(parts) > 0)
subsets = st.sets(st.sampled_from(VERSIONS))


def weights(parts: list[int]) -> dict[str, int]:
    """Weights of the first versions in these proportions, which sum to 100."""
    total, left, found = sum(parts), 100, {}
    for name, part in zip(VERSIONS, parts, strict=False):
        found[name] = min(100 * part // total, left)
        left -= found[name]
    found["v1"] += left
    return found


@given(shares, st.one_of(st.none(), shares), subsets, subsets)
def test_weights_sum_to_100_and_go_to_ready_versions(
    target: list[int], current: list[int] | None, ready: set[str], usable: set[str]
) -> None:
    usable &= ready
    now = weights(current) if current else {}
    found = allocate(weights(target), now, ready, usable)
    assert sum(found.values()) in ({100} if now else {0, 100})
    assert all(weight > 0 for weight in found.values())
    known = set(found) | set(now)
    if ready & known and found:
        assert set(found) <= ready
    if set(weights(target)) <= usable:
        assert found == {name: weight for name, weight in weights(target).items() if weight}


disturbances = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.integers(2, 4)),
        st.tuples(st.sampled_from(["crash", "recover"]), st.integers(1, 4)),
        st.tuples(st.sampled_from(["bad answers", "no answers"]), st.integers(2, 4)),
        st.tuples(st.sampled_from(["calm", "calm", "routers lag", "lose status"]), st.just(0)),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(disturbances)
def test_a_rollout_never_promotes_unvalidated_nor_sends_traffic_nowhere(
    happenings: list[tuple[str, int]],
) -> None:
    """Servers start, routers follow and requests are answered well, but for what happens."""
    world = World(make_deployment(rollout=ROLLOUT))
    world.register(1)
    world.tick()
    world.start_routers()
    world.ready("flights-v1")
    world.run(3)
    failed: set[str] = set()
    champion = world.status.champion
    for what, number in happenings:
        _happen(world, what, f"flights-v{number}", number)
        world.tick(minutes=2)
        failed |= _failed(world)
        assert sum(world.weights.values()) == 100
        ready = {name for name, server in world.servers.items() if server.ready}
        if ready:
            assert set(world.weights) <= ready
        assert world.status.champion is not None
        if world.status.champion != champion:
            champion = world.status.champion
            verdicts = [item["data"] for item in world.records][-1]["verdicts"]
            assert [item["verdict"] for item in verdicts] == ["Pass"]
            assert world.status.champion not in failed
    rejected = {item.model_version for item in world.status.rejected or ()}
    assert world.status.champion not in rejected


def _happen(world: World, what: str, version: str, number: int) -> None:
    if what == "register" and version not in world.versions:
        world.register(number)
    for name, server in world.servers.items():
        crashed = bool(server.trouble)
        if what == "crash" and name == version:
            world.crash(name)
        elif not crashed or (what == "recover" and name == version):
            world.ready(name)
    if what != "routers lag":
        world.sync()
    challenger = world.status.challenger
    if challenger and what != "no answers":
        world.answer(challenger, 500, 400 if what == "bad answers" else 0)


def _failed(world: World) -> set[str]:
    return {
        item["data"]["version"]["name"]
        for item in world.records
        if item["data"]["decision"] == "Rejection"
    }
