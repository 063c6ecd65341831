"""The pod: block over podDefaults, under what every pod of ours has."""

from __future__ import annotations

from typing import Any

import pytest
from mounts import REFUSED_MOUNTS, TAKEN_MOUNTS, VOLUME

from everloop.api.pod import Pod
from everloop.errors import InvalidSpec
from everloop.manifests.pod import merged_block, our_container, pod_spec, variable
from everloop.settings import Settings

Dict = dict[str, Any]


def spec_of(settings: Settings, pod: Dict | None = None, **container: Any) -> Dict:
    item = {"name": "step", "image": "any", **container}
    block = Pod.model_validate(pod) if pod is not None else None
    return pod_spec(settings, block, containers=[item])[2]


def test_what_every_pod_has() -> None:
    spec = spec_of(Settings())
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["env"] == [variable("HOME", "/tmp"), variable("TMPDIR", "/tmp")]
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


@pytest.mark.parametrize(
    ("field", "below", "above", "merged"),
    [
        ("labels", {"a": "1", "b": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
        ("nodeSelector", {"pool": "x"}, {"gpu": "y"}, {"pool": "x", "gpu": "y"}),
        (
            "env",
            [variable("A", "1"), variable("B", "1")],
            [variable("B", "2")],
            [variable("B", "2"), variable("A", "1")],
        ),
        ("imagePullSecrets", [{"name": "a"}], [{"name": "b"}], [{"name": "b"}, {"name": "a"}]),
        ("tolerations", [{"key": "a"}], [{"key": "b"}], [{"key": "a"}, {"key": "b"}]),
        ("tolerations", [{"key": "a"}], [{"key": "a"}], [{"key": "a"}]),
        ("serviceAccountName", "a", "b", "b"),
        ("resources", {"limits": {"cpu": "1"}}, {"limits": {"memory": "1Gi"}}, None),
        ("securityContext", {"runAsUser": 1, "fsGroup": 2}, {"runAsUser": None}, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_block_over_the_defaults(field: str, below: Any, above: Any, merged: Any) -> None:
    settings = Settings(pod_defaults={field: below})
    expected = {
        "resources": {"limits": {"memory": "1Gi"}},
        "securityContext": {"runAsUser": None, "fsGroup": 2},
    }
    found = merged_block(settings, Pod.model_validate({field: above}))
    assert found[field] == (expected[field] if merged is None else merged)
    assert merged_block(settings, None)[field] == below


def test_null_removes_a_field_of_the_security_context() -> None:
    ids = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    spec = spec_of(Settings(pod_defaults={"securityContext": ids}))
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_a_containers_own_wins_and_names_stay_unique() -> None:
    settings = Settings(proxy={"HTTPS_PROXY": "http://proxy"})
    pod = {
        "env": [variable("A", "pod"), variable("HOME", "/home/pod")],
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "volumeMounts": [{"name": "cache", "mountPath": "/tmp"}],
        "resources": {"limits": {"cpu": "1"}},
    }
    own = {"env": [variable("A", "own")], "resources": {"limits": {"cpu": "2"}}}
    spec = spec_of(settings, pod, **own)
    (container,) = spec["containers"]
    assert {item["name"]: item["value"] for item in container["env"]} == {
        "A": "own",
        "HOME": "/home/pod",
        "HTTPS_PROXY": "http://proxy",
        "TMPDIR": "/tmp",
    }
    assert container["volumeMounts"] == [{"name": "cache", "mountPath": "/tmp"}]
    assert container["resources"] == {"limits": {"cpu": "2"}}
    assert [volume["name"] for volume in spec["volumes"]] == ["tmp", "cache"]


def test_ours_are_read_only_and_trust_the_charts_bundle() -> None:
    settings = Settings(ca_bundle_config_map="company", image_pull_policy="Always")
    container = our_container(settings, "fetch", "runtime", ["python"], args=["x"])
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["runAsNonRoot"] is True
    assert (container["imagePullPolicy"], container["args"]) == ("Always", ["x"])
    spec = pod_spec(settings, None, containers=[container])[2]
    assert {"name": "ca-bundle", "configMap": {"name": "company"}} in spec["volumes"]
    names = {item["name"] for item in spec["containers"][0]["env"]}
    assert {"SSL_CERT_FILE", "AWS_CA_BUNDLE"} <= names


@pytest.mark.parametrize("case", REFUSED_MOUNTS)
def test_a_mount_that_the_crds_refuse_makes_no_pod(case: str) -> None:
    """Objects may be older than a rule, and no rule reads the chart's podDefaults."""
    mount, words = REFUSED_MOUNTS[case]
    block = {"volumes": [VOLUME], "volumeMounts": [mount]}
    for where, settings, pod in (
        ("pod: ", Settings(), block),
        ("podDefaults of the chart: ", Settings(pod_defaults=block), None),
    ):
        with pytest.raises(InvalidSpec, match=f"^{where}") as refusal:
            spec_of(settings, pod)
        assert words in str(refusal.value)


def test_other_mounts_are_made() -> None:
    mounts = list(TAKEN_MOUNTS)
    spec = spec_of(Settings(), {"volumes": [VOLUME], "volumeMounts": mounts})
    assert spec["containers"][0]["volumeMounts"] == mounts
