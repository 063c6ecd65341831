"""The `pod:` block that every kind with pods shares, and the chart's podDefaults."""

from __future__ import annotations

from pydantic import Field

from everloop.api.base import Model, ObjectName, Opaque


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
        description="Secrets with credentials for private image registries.",
    )
    env: list[Opaque] | None = Field(
        default=None, max_length=128, description="Environment variables, as in a container."
    )
    env_from: list[Opaque] | None = Field(
        default=None,
        max_length=32,
        description="Secrets and ConfigMaps whose keys become environment variables, as in a container.",
    )
    volumes: list[Opaque] | None = Field(
        default=None, max_length=32, description="Volumes, as in a pod."
    )
    volume_mounts: list[Opaque] | None = Field(
        default=None, max_length=32, description="Where the volumes are mounted, in all containers."
    )
    resources: Resources | None = Field(
        default=None, description="Requests and limits of containers that state none of their own."
    )
    node_selector: dict[str, str] | None = Field(
        default=None, max_length=32, description="Labels that the node must have."
    )
    affinity: Opaque | None = Field(default=None, description="As in a pod.")
    tolerations: list[Opaque] | None = Field(
        default=None, max_length=32, description="As in a pod."
    )
    labels: dict[str, str] | None = Field(
        default=None, max_length=32, description="Extra labels of the pods."
    )
    annotations: dict[str, str] | None = Field(
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
