"""What one pass looks at must not grow with what rests beside it: a namespace keeps thousands."""

from __future__ import annotations

from typing import Any

import pytest
from golden import FakeOutside, FakeReader
from runs import NAMESPACE, make_config, make_report_map, make_run, make_version
from samples import make_deployment, make_experiment, make_monitor

from everloop.cluster.cache import Cache
from everloop.cluster.store import Place, Store
from everloop.handlers.registry import KINDS
from everloop.settings import Settings

Dict = dict[str, Any]
SAME, OTHER = "flights", "taxis"


def _cache(parent: Dict, model: str, count: int) -> Cache:
    """The parent, a run of its model that has reported, and so many registered runs beside them."""
    run = make_run("flights-now")
    found = [parent, run, make_config(run), make_report_map(run)]
    for number in range(1, count + 1):
        beside = make_run(f"{model}-{number}", modelName=model)
        uid, name = beside["metadata"]["uid"], f"{model}-v{number}"
        found += [beside, make_config(beside), make_report_map(beside, registered=name)]
        found.append(make_version(number, run_uid=uid, model=model))
    cache = Cache()
    cache.serve(kind.resource.kind + ".everloop.dev" for kind in KINDS)
    for version, item in enumerate(found, start=1):
        meta = {**item["metadata"], "resourceVersion": str(version)}
        meta.setdefault("uid", f"uid-{version}")
        cache.put({**item, "metadata": meta})
    return cache


@pytest.mark.parametrize(
    ("parent", "model"),
    [
        pytest.param(make_run("flights-now"), SAME, id="TrainingRun-to-be-registered"),
        pytest.param(make_experiment("search", NAMESPACE, modelName=SAME), SAME, id="Experiment"),
        pytest.param(make_deployment("live", NAMESPACE, modelName=SAME), OTHER, id="Deployment"),
        pytest.param(make_monitor("watch", NAMESPACE, "live"), OTHER, id="Monitor"),
    ],
)
async def test_a_pass_reads_as_much_among_many_as_among_few(
    parent: Dict, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kind,) = (kind for kind in KINDS if kind.resource.kind == parent["kind"])
    meta = parent["metadata"]
    read: list[Place] = []
    original = Store.get

    def get(store: Store, place: Place) -> Any:
        read.append(place)
        return original(store, place)

    monkeypatch.setattr(Store, "get", get)
    counts = []
    for count in (2, 60):
        cache = _cache(parent, model, count)
        live = cache.get(parent["kind"], meta["namespace"], meta["name"])
        assert live is not None
        outside = FakeOutside(Settings(), FakeReader([live]))
        read.clear()
        await kind.observe(live, cache, outside)
        counts.append(len(read))
    assert counts[0] == counts[1]
