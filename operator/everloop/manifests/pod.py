"""Pods of every kind: the `pod:` block over the chart's podDefaults, as Pod Security `restricted`.

A container of ours comes from `our_container` (read-only root, the chart's CA bundle); a container
of the user's is a plain dict. `pod_spec` gives both what all containers share: no capabilities,
HOME and TMPDIR on an emptyDir, the proxy, and the env, volumes and resources of the `pod:` block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from everloop import contract
from everloop.api.pod import Pod, refused_mount
from everloop.errors import InvalidSpec
from everloop.settings import Settings

Dict = dict[str, Any]

USER_ID = 65532  # "nonroot" of distroless images: no file of an image belongs to it by accident
TMP_VOLUME = "tmp"
TMP_DIR = "/tmp"  # an emptyDir of the pod, not the node
# How our containers run our code. -P: no module comes from the working directory, which is /tmp in
# our images. PYTHONSAFEPATH in the image would say so for users' steps too, and their
# `python train.py` needs its folder.
PYTHON = ("python", "-P", "-m")
CA_VOLUME = "ca-bundle"
CA_DIR = "/etc/everloop-ca"
CA_FILE = f"{CA_DIR}/ca.crt"
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO")
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def our_container(
    settings: Settings,
    name: str,
    image: str,
    command: Sequence[str],
    *,
    env: Iterable[Dict] = (),
    mounts: Iterable[Dict] = (),
    resources: Mapping[str, Any] | None = None,
    ports: Iterable[Dict] = (),
    **fields: Any,
) -> Dict:
    """A container that runs our code: non-root, read-only root file system, nothing to escalate.

    `fields` are further fields of a container (args, probes, lifecycle …).
    """
    container: Dict = {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": list(command),
        "securityContext": {
            **RESTRICTED,
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
        },
    }
    env, mounts, ports = list(env), list(mounts), list(ports)
    if settings.ca_bundle_config_map:
        env += [variable(name, CA_FILE) for name in CA_VARIABLES]
        mounts.append({"name": CA_VOLUME, "mountPath": CA_DIR, "readOnly": True})
    if env:
        container["env"] = env
    if mounts:
        container["volumeMounts"] = mounts
    if ports:
        container["ports"] = ports
    if resources:
        container["resources"] = dict(resources)
    return {**container, **fields}


def pod_spec(
    settings: Settings,
    pod: Pod | None,
    *,
    containers: Sequence[Dict],
    init_containers: Sequence[Dict] = (),
    volumes: Iterable[Dict] = (),
) -> tuple[dict[str, str], dict[str, str], Dict]:
    """Extra labels, extra annotations and spec of a pod.

    What a container states itself wins over the `pod:` block, which wins over podDefaults. Raises
    InvalidSpec as `merged_block` does.
    """
    block = merged_block(settings, pod)
    shared = [_complete(item, block, settings) for item in (*init_containers, *containers)]
    count = len(init_containers)
    all_volumes = [*volumes, {"name": TMP_VOLUME, "emptyDir": {}}]
    if settings.ca_bundle_config_map:
        all_volumes.append(
            {"name": CA_VOLUME, "configMap": {"name": settings.ca_bundle_config_map}}
        )
    spec: Dict = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _security(block.get("securityContext") or {}),
        "containers": shared[count:],
        "volumes": _by("name", all_volumes, block.get("volumes") or []),
    }
    if count:
        spec["initContainers"] = shared[:count]
    for field in (
        "imagePullSecrets",
        "nodeSelector",
        "affinity",
        "tolerations",
        "serviceAccountName",
        "priorityClassName",
    ):
        if block.get(field):
            spec[field] = block[field]
    return block.get("labels") or {}, block.get("annotations") or {}, spec


def merged_block(settings: Settings, pod: Pod | None) -> Dict:
    """The `pod:` block with the chart's podDefaults under it, in the API's field names.

    Maps are merged by key, lists of named things by name; tolerations and envFrom add up; anything
    else of the block replaces the default. Raises InvalidSpec for a mount or a label that the CRDs
    refuse.
    """
    below = Pod.model_validate(settings.pod_defaults).to_dict()
    above = pod.to_dict() if pod else {}
    for where, given in (("pod", above), ("podDefaults of the chart", below)):
        _check_mounts(where, given)
        _check_labels(where, given)
    block = {**below, **above}
    for field in below.keys() & above.keys():
        low, high = below[field], above[field]
        if field in ("env", "volumes", "imagePullSecrets"):
            block[field] = _by("name", high, low)
        elif field == "volumeMounts":
            block[field] = _by("mountPath", high, low)
        elif field in ("tolerations", "envFrom"):
            block[field] = [*low, *(item for item in high if item not in low)]
        elif field in ("labels", "annotations", "nodeSelector", "securityContext"):
            block[field] = {**low, **high}
    return block


def apart(labels: Mapping[str, str]) -> Dict:
    """An affinity: pods with these labels rather on different nodes."""
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": dict(labels)},
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def variable(name: str, value: str) -> Dict:
    """One environment variable of ours, with exactly this value.

    The kubelet fills in `$(OTHER)`, and takes `$$` for `$`: a column's name may look like that.

    >>> variable("SIGNATURE", "$(HOME)")
    {'name': 'SIGNATURE', 'value': '$$(HOME)'}
    """
    return {"name": name, "value": value.replace("$", "$$")}


def _check_mounts(where: str, block: Dict) -> None:
    for mount in block.get("volumeMounts") or []:
        refusal = refused_mount(mount)
        if refusal:
            raise InvalidSpec(f"{where}: volumeMounts of {mount.get('mountPath')}: {refusal}")


def _check_labels(where: str, block: Dict) -> None:
    """By a label of ours a pod would be chosen by what chooses those of another object."""
    for name in block.get("labels") or {}:
        if name.startswith(f"{contract.GROUP}/") or name == contract.MANAGED_BY:
            raise InvalidSpec(
                f"{where}: label {name}: those of {contract.GROUP}/ and {contract.MANAGED_BY} are "
                "Everloop's: take another name"
            )


def _complete(container: Dict, block: Dict, settings: Settings) -> Dict:
    result = {**container}
    result["securityContext"] = {**RESTRICTED, **container.get("securityContext", {})}
    defaults = [variable("HOME", TMP_DIR), variable("TMPDIR", TMP_DIR)]
    proxy = [variable(name, value) for name, value in sorted(settings.proxy.items())]
    result["env"] = _by("name", container.get("env") or [], block.get("env") or [], proxy, defaults)
    result["volumeMounts"] = _by(
        "mountPath",
        container.get("volumeMounts") or [],
        block.get("volumeMounts") or [],
        [{"name": TMP_VOLUME, "mountPath": TMP_DIR}],
    )
    if block.get("envFrom"):
        result["envFrom"] = [*(container.get("envFrom") or []), *block["envFrom"]]
    if block.get("resources") and not container.get("resources"):
        result["resources"] = block["resources"]
    return result


def _security(overrides: Mapping[str, Any]) -> Dict:
    """Pod security context: our defaults, replaced field by field; null removes a field."""
    context = {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "seccompProfile": {"type": "RuntimeDefault"},
        **overrides,
    }
    return {field: value for field, value in context.items() if value is not None}


def _by(key: str, *lists: Sequence[Dict]) -> list[Dict]:
    """One list of all entries; of those with the same key the first wins (keys must be unique)."""
    found: dict[str, Dict] = {}
    for entry in (item for items in lists for item in items):
        found.setdefault(entry[key], entry)
    return list(found.values())
