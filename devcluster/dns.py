"""CoreDNS as a pod, behind the Service address that the kubelet tells every pod."""

from __future__ import annotations

import json
from string import Template

from devcluster.control_plane import Parts
from devcluster.paths import HERE
from devcluster.progress import run


def install(parts: Parts, image: str, address: str) -> None:
    """Apply the manifests."""
    text = (HERE / "manifests" / "coredns.yaml").read_text()
    manifests = Template(text).substitute(image=image, address=address)
    run([*parts.kubectl(), "apply", "--server-side", "-f", "-"], stdin=manifests)


def ready(parts: Parts) -> bool:
    """Whether DNS answers, by its readiness probe."""
    answer = parts.get("/apis/apps/v1/namespaces/kube-system/deployments/coredns")
    return answer is not None and json.loads(answer)["status"].get("readyReplicas", 0) > 0
