"""The little that the plugin needs of the API server: list, patch, one namespace, plain dicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from everloop import contract


class ClientError(Exception):
    """What went wrong, in one line that says what to do."""


@dataclass(frozen=True)
class Client:
    """Reads and annotates Everloop's objects in one namespace."""

    api: Any
    namespace: str

    def list(self, plural: str) -> list[dict[str, Any]]:
        """All objects of a kind in the namespace."""
        try:
            answer = self.api.list_namespaced_custom_object(
                contract.GROUP, contract.VERSION, self.namespace, plural
            )
        except ApiException as error:
            raise _translated(error, plural, self.namespace) from error
        items: list[dict[str, Any]] = answer["items"]
        return items

    def annotate(self, plural: str, name: str, annotations: dict[str, str]) -> None:
        """Set annotations of one object."""
        try:
            self.api.patch_namespaced_custom_object(
                contract.GROUP,
                contract.VERSION,
                self.namespace,
                plural,
                name,
                {"metadata": {"annotations": annotations}},
            )
        except ApiException as error:
            raise _translated(error, f"{plural}/{name}", self.namespace) from error


def connect(context: str | None, namespace: str | None) -> Client:
    """A client from the user's kubeconfig. Raises ClientError when there is none."""
    try:
        loader: Any = config  # the library ships no types
        contexts, active = loader.list_kube_config_contexts()
        loader.load_kube_config(context=context)
    except (ConfigException, OSError) as error:
        raise ClientError(f"no usable kubeconfig: {error}; set KUBECONFIG or --context") from error
    chosen = next((item for item in contexts if item["name"] == context), active)
    found = namespace or chosen["context"].get("namespace") or "default"
    return Client(client.CustomObjectsApi(), found)


def _translated(error: ApiException, what: str, namespace: str) -> ClientError:
    if error.status == 404 and "/" not in what:
        return ClientError("this cluster has no Everloop: install the chart first")
    if error.status == 404:
        return ClientError(f"{what} does not exist in namespace {namespace}")
    if error.status in (401, 403):
        return ClientError(f"you may not touch {what} in namespace {namespace}: {error.reason}")
    return ClientError(f"{what}: the API server answered {error.status} {error.reason}")
