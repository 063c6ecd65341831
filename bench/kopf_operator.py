"""The operator to compare with: the same toy kind as a kopf tutorial would write it.

Create, update and resume handlers, the official synchronous client, a status patch. Run by
`kopf run`; not part of Everloop.
"""

from __future__ import annotations

from typing import Any

import kopf
import kubernetes
from toy import GROUP, LABELS

from everloop import contract


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """kopf's defaults, with the events it would post left out: ours count no events either."""
    settings.posting.enabled = False
    kubernetes.config.load_kube_config()


@kopf.on.create(GROUP, "v1", "toys")
@kopf.on.update(GROUP, "v1", "toys")
@kopf.on.resume(GROUP, "v1", "toys")
def reconcile(
    name: str, namespace: str, spec: kopf.Spec, patch: kopf.Patch, meta: kopf.Meta, **_: Any
) -> None:
    """Make the ConfigMap or bring it up to date, and say so in the status."""
    core = kubernetes.client.CoreV1Api()
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "labels": dict(LABELS),
            "annotations": {"purpose": "test"},
        },
        "data": {"value": spec["value"]},
    }
    kopf.adopt(config)
    try:
        core.create_namespaced_config_map(namespace, config)
    except kubernetes.client.ApiException as error:
        if error.status != 409:
            raise
        core.patch_namespaced_config_map(name, namespace, config)
    patch.status["observedGeneration"] = meta["generation"]
    patch.status["value"] = spec["value"]
    patch.status["conditions"] = [
        {
            "type": contract.READY,
            "status": "True",
            "reason": "Copied",
            "message": "",
            "observedGeneration": meta["generation"],
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
