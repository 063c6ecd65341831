"""Add-ons: the manifests fit what the installer fills in, and nothing in them calls the outside."""

from collections.abc import Iterator
from string import Template
from typing import Any

import yaml
from devcluster import addons, tools


def objects() -> Iterator[dict[str, Any]]:
    values = {
        **{image: f"registry.example/{image}:1" for image in addons.IMAGES},
        "prometheus_version": "v3",
        "alertmanager_version": "v0.28",
    }
    for file in addons.MANIFESTS.glob("*.yaml"):
        yield from yaml.safe_load_all(Template(file.read_text()).substitute(values))


def test_every_image_is_used_and_none_comes_from_elsewhere() -> None:
    used = {text for thing in objects() for text in texts(thing) if "registry.example/" in text}
    for image in addons.IMAGES:
        assert any(f"registry.example/{image}:1" in text for text in used), image
    images = [i for thing in objects() for i in values_of(thing, "image")]
    assert len(images) == 4  # the fifth is the reloader, an argument of the operator
    assert all(image.startswith("registry.example/") for image in images)


def test_every_program_is_one_the_dev_cluster_can_make() -> None:
    for program, _ in addons.IMAGES.values():
        assert tools.owner_of(program)


def test_all_namespaces_enforce_restricted_pods() -> None:
    namespaces = [thing["metadata"] for thing in objects() if thing["kind"] == "Namespace"]
    assert {namespace["name"] for namespace in namespaces} == set(addons.WORKLOADS)
    for namespace in namespaces:
        assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_store_sends_no_statistics_home() -> None:
    arguments = [a for thing in objects() for a in values_of(thing, "args")]
    assert any("-master.telemetry=false" in list_ for list_ in arguments)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def values_of(value: Any, key: str) -> Iterator[Any]:
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for item in value.values():
            yield from values_of(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from values_of(item, key)
