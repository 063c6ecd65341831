"""When the demo stops: what the cluster says about it."""

from __future__ import annotations

from contextlib import suppress

import aiohttp

from demo.cluster import Cluster, UnexpectedError
from demo.watch import KINDS

LINES = 25


async def explain(cluster: Cluster, namespace: str, operator_namespace: str) -> list[str]:
    """Conditions, pods that wait, warnings, and the operator's last words."""
    parts: list[str] = []
    sections = {
        "Conditions": _conditions(cluster, namespace),
        "Pods": cluster.run("-n", namespace, "get", "pods"),
        "Warnings": cluster.run(
            "-n", namespace, "get", "events", "--field-selector=type=Warning",
            "--sort-by=.lastTimestamp",
        ),
        "The operator's last lines": cluster.run(
            "-n", operator_namespace, "logs", "-l", "app.kubernetes.io/name=everloop",
            f"--tail={LINES}", "--prefix",
        ),
    }  # fmt: skip
    for title, section in sections.items():
        text = ""
        with suppress(UnexpectedError, aiohttp.ClientError, TimeoutError):
            text = await section
        lines = text.strip().splitlines()[-2 * LINES :]
        parts += ["", f"--- {title}", *(lines or ["(none)"])]
    return parts


async def _conditions(cluster: Cluster, namespace: str) -> str:
    lines = []
    for kind in KINDS:
        items = await cluster.items(f"/apis/everloop.dev/v1alpha1/namespaces/{namespace}/{kind}")
        for item in items:
            for one in item.get("status", {}).get("conditions", []):
                lines.append(
                    f"{kind}/{item['metadata']['name']}: {one['type']}={one['status']} "
                    f"{one['reason']}: {one.get('message', '')}"
                )
    return "\n".join(lines)
