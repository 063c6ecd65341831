"""The `pod:` block that every kind with pods shares, and the chart's podDefaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from everloop import contract
from everloop.api.base import (
    LongText,
    Model,
    ObjectName,
    Opaque,
    Quantity,
    Rule,
    keyed,
    list_map,
)

# What the pods have by themselves. A volume, variable or label of the same name would lose against
# it, so it is refused. A mount of one of these volumes would hand steps what is for our containers.
# The boundary is between a run's author and the code of its steps: what the author writes holds for
# our containers too (credentials must), what a step does at run time must not reach into them.
OUR_VOLUMES: Final = (
    "ca-bundle", "config", "model", "runner-tmp", "source", "tmp", "token", "tools", "workspace",
)  # fmt: skip
OUR_MOUNTS: Final = (
    contract.WORKSPACE,
    contract.TOOLS_DIR,
    contract.CONFIG_DIR,
    contract.SOURCE_CONFIG_DIR,
    contract.TOKEN_DIR,
    "/etc/everloop-ca",
    "/model",
)

# The kinds of volumes that Kubernetes has, or had.
SOURCES: Final = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "configMap", "csi",
    "downwardAPI", "emptyDir", "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk",
    "gitRepo", "glusterfs", "hostPath", "image", "iscsi", "nfs", "persistentVolumeClaim",
    "photonPersistentDisk", "portworxVolume", "projected", "quobyte", "rbd", "scaleIO", "secret",
    "storageos", "vsphereVolume",
)  # fmt: skip
HOW_MOUNTED: Final = (
    "mountPropagation", "readOnly", "recursiveReadOnly", "subPath", "subPathExpr",
)  # fmt: skip

LabelValue = Annotated[str, Field(max_length=63)]
Variable = Annotated[
    dict[str, Any],
    Field(
        json_schema_extra=keyed(
            {"name": "Name of the variable."},
            Rule(
                f"!self.name.startsWith('{contract.ENV_PREFIX}')",
                f"variables that begin with {contract.ENV_PREFIX} are set by Everloop: take another name",
            ),
            others=("value", "valueFrom"),
        )
    ),
]
Volume = Annotated[
    dict[str, Any],
    Field(
        json_schema_extra=keyed(
            {"name": "Name of the volume."},
            Rule(
                f"!(self.name in {list(OUR_VOLUMES)})",
                f"the volumes {', '.join(OUR_VOLUMES)} are Everloop's: take another name",
            ),
            others=SOURCES,
        )
    ),
]
# Each has its twin in `refused_mount`.
OTHER_VOLUME: Final = Rule(
    f"!(self.name in {list(OUR_VOLUMES)})",
    f"the volumes {', '.join(OUR_VOLUMES)} are Everloop's: mount a volume of your own",
)
PLAIN_PATH: Final = Rule(
    "self.mountPath.startsWith('/') && self.mountPath.substring(1).split('/')"
    ".all(part, !(part in ['', '.', '..']))",
    "mountPath begins with / and has no empty, . or .. part: write it plainly, without a slash at "
    "the end, as /data/cache",
)
OTHER_PATH: Final = Rule(
    f"!{list(OUR_MOUNTS)}.exists(ours, (self.mountPath + '/').startsWith(ours + '/'))",
    f"what is at and below {', '.join(OUR_MOUNTS)} is Everloop's own: take another path",
)
Mount = Annotated[
    dict[str, Any],
    Field(
        json_schema_extra=keyed(
            {"mountPath": "Path in the containers.", "name": "Name of the volume."},
            OTHER_VOLUME,
            PLAIN_PATH,
            OTHER_PATH,
            others=HOW_MOUNTED,
        )
    ),
]


def refused_mount(mount: Mapping[str, Any]) -> str | None:
    """Why a mount is refused, in the words of its rule; None if it may be.

    For what no CRD has seen: the chart's podDefaults, and objects that are older than a rule.

    >>> refused_mount({"name": "cache", "mountPath": "/cache"})
    >>> refused_mount({"name": "cache", "mountPath": "/cache/"}) == PLAIN_PATH.message
    True
    """
    name, path = str(mount.get("name")), str(mount.get("mountPath"))
    if name in OUR_VOLUMES:
        return OTHER_VOLUME.message
    if not path.startswith("/") or any(part in ("", ".", "..") for part in path[1:].split("/")):
        return PLAIN_PATH.message
    if any(f"{path}/".startswith(f"{ours}/") for ours in OUR_MOUNTS):
        return OTHER_PATH.message
    return None


class Resources(Model):
    """Requests and limits, as in a container."""

    requests: dict[str, Quantity] | None = Field(
        default=None, max_length=16, description="What the container is guaranteed."
    )
    limits: dict[str, Quantity] | None = Field(
        default=None, max_length=16, description="What the container may use at most."
    )


class LocalObject(Model):
    """A reference to an object in the same namespace."""

    name: ObjectName = Field(description="Name of the object, in this namespace.")


class Pod(Model):
    """Settings of the pods that are made for this object; fields as in a Kubernetes PodSpec."""

    image_pull_secrets: list[LocalObject] | None = Field(
        default=None,
        max_length=16,
        json_schema_extra=list_map("name"),
        description="Secrets with credentials for private image registries.",
    )
    env: list[Variable] | None = Field(
        default=None,
        max_length=128,
        json_schema_extra=list_map("name"),
        description="Environment variables, as in a container.",
    )
    env_from: list[Opaque] | None = Field(
        default=None,
        max_length=32,
        description="Secrets and ConfigMaps whose keys become environment variables, as in a container.",
    )
    volumes: list[Volume] | None = Field(
        default=None,
        max_length=32,
        json_schema_extra=list_map("name"),
        description="Volumes, as in a pod.",
    )
    volume_mounts: list[Mount] | None = Field(
        default=None,
        max_length=32,
        json_schema_extra=list_map("mountPath"),
        description="Where the volumes are mounted, in all containers.",
    )
    resources: Resources | None = Field(
        default=None, description="Requests and limits of containers that state none of their own."
    )
    node_selector: dict[str, LabelValue] | None = Field(
        default=None, max_length=32, description="Labels that the node must have."
    )
    affinity: Opaque | None = Field(default=None, description="As in a pod.")
    tolerations: list[Opaque] | None = Field(
        default=None, max_length=32, description="As in a pod."
    )
    labels: dict[str, LabelValue] | None = Field(
        default=None, max_length=32, description="Extra labels of the pods."
    )
    annotations: dict[str, LongText] | None = Field(
        default=None, max_length=32, description="Extra annotations of the pods."
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="Service account of the pods; its token is not mounted."
    )
    priority_class_name: ObjectName | None = Field(default=None, description="As in a pod.")
    security_context: Opaque | None = Field(
        default=None,
        description="Pod security context; replaces the default (user, group and fsGroup 65532, RuntimeDefault seccomp) field by field; null removes a field.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!has(self.labels) || self.labels.all(key, !key.startsWith('{contract.GROUP}/') "
            f"&& key != '{contract.MANAGED_BY}')",
            f"labels of {contract.GROUP}/ and {contract.MANAGED_BY} are Everloop's: take another name",
        ),
    )
