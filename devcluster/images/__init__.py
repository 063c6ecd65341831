"""Images of the dev cluster: ours from the Dockerfile, single binaries straight to its registry."""

from __future__ import annotations

from collections.abc import Sequence

from devcluster.images.builder import PREFIX, find_builder
from devcluster.images.inputs import INPUTS, image_key, snapshot
from devcluster.images.registry import Registry
from devcluster.progress import step


def build(images: Sequence[str] = tuple(INPUTS)) -> dict[str, str]:
    """Build what is not there; returns the local name of each image by target."""
    builder = find_builder()
    names = {}
    with snapshot(images) as context:
        for target in images:
            name = f"{PREFIX}/{target}:{image_key(target, builder.base(), context)}"
            if not builder.has(name):
                with step(f"image {target}: building {name}"):
                    builder.build(context, target, name)
            names[target] = name
    return names


def references(registry: str, images: Sequence[str] = tuple(INPUTS)) -> dict[str, str]:
    """What pods write as their image, by target; the images need not exist yet."""
    base = find_builder().base()
    return {t: f"{registry}/{PREFIX}/{t}:{image_key(t, base)}" for t in images}


def push(registry: str, images: Sequence[str] = tuple(INPUTS)) -> dict[str, str]:
    """Build and push what the registry does not have; returns the references by target."""
    found = references(registry, images)
    for target, reference in found.items():
        repository, tag = f"{PREFIX}/{target}", reference.rsplit(":", 1)[1]
        if Registry(registry).has(repository, tag):
            continue
        name = build([target])[target]
        found[target] = f"{registry}/{name}"
        with step(f"image {target}: pushing {found[target]}"):
            find_builder().push(name, found[target])
    return found
