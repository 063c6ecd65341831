"""What makes servers and routers begin anew: what is in their pods, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from deployment_world import World, rolling
from golden import dump

from everloop import __version__
from everloop.settings import Settings

ROLLS = {
    *("runtime_image", "router_image", "image_pull_policy"),
    *("pod_defaults", "ca_bundle_config_map", "proxy"),
}
OTHER: dict[str, Any] = {
    "pod_defaults": {"nodeSelector": {"pool": "ml"}},
    "proxy": {"HTTPS_PROXY": "http://proxy:3128"},
    "rule_labels": {"release": "kps"},
}


def test_only_settings_that_are_in_pods_roll_them() -> None:
    """A setting that comes to be in a template belongs into ROLLS, and into the changelog."""
    world = rolling()
    was = templates(world)
    assert len(was) == 2, "a server and a router"
    rolled = {
        field.name
        for field in fields(Settings)
        if templates(world, **{field.name: other(field.name)}) != was
    }
    assert rolled == ROLLS


def test_the_version_of_the_operator_is_in_no_template() -> None:
    images = {"runtime_image": "runtime:any", "router_image": "router:any"}
    text = dump(templates(rolling(), **images))
    assert "runtime:any" in text
    assert __version__ not in text


def templates(world: World, **settings: Any) -> dict[str, Any]:
    """Of the apps/Deployments that an operator with these settings plans, by name."""
    world.settings = replace(Settings(), **settings)
    children = [child.manifest for child in world.tick().children]
    found = [item for item in children if item["apiVersion"] == "apps/v1"]
    return {item["metadata"]["name"]: item["spec"]["template"] for item in found}


def other(name: str) -> Any:
    """A value that the setting does not have by default."""
    default = getattr(Settings(), name)
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        return default + 1
    if isinstance(default, tuple):
        return ("other",)
    return OTHER[name] if isinstance(default, dict) else f"{default}other"
