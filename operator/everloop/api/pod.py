"""The `pod:` block that every kind with pods shares, and the chart's podDefaults."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from everloop import contract
from everloop.api.base import (
    LongText,
    Model,
    ObjectName,
    Opaque,
    Rule,
    keyed,
    list_map,
)

# What the pods have by themselves. A volume, mount, variable or label of the same name would lose
# against it, so it is refused.
OUR_VOLUMES: Final = (
    "ca-bundle", "config", "model", "source", "tmp", "token", "tools", "workspace",
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

LabelValue = Annotated[str, Field(max_length=63)]
Variable = Annotated[
    dict[str, Any],
    Field(
        json_schema_extra=keyed(
            "name",
            "Name of the variable.",
            Rule(
                f"!self.name.startsWith('{contract.ENV_PREFIX}')",
                f"variables that begin with {contract.ENV_PREFIX} are set by Everloop: take another name",
            ),
        )
    ),
]
Volume = Annotated[
    dict[str, Any],
    Field(
        json_schema_extra=keyed(
            "name",
            "Name of the volume.",
            Rule(
                f"!(self.name in {list(OUR_VOLUMES)})",
                f"the volumes {', '.join(OUR_VOLUMES)} are Everloop's: take another name",
            ),
        )
    ),
]
Mount = Annotated[
    dict[str, Any],
    Field(
        json_schema_extra=keyed(
            "mountPath",
            "Path in the containers.",
            Rule(
                f"!(self.mountPath in {list(OUR_MOUNTS)})",
                f"at {', '.join(OUR_MOUNTS)} are Everloop's own volumes: take another path",
            ),
        )
    ),
]


class Resources(Model):
    """Requests and limits, as in a container."""

    requests: dict[str, str | int] | None = Field(
        default=None, max_length=16, description="What the container is guaranteed."
    )
    limits: dict[str, str | int] | None = Field(
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
