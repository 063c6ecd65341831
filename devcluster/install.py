"""Installs Everloop into a dev cluster: `python3 -m devcluster.install --name dev`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from devcluster import binaries, images
from devcluster.paths import HERE, read_info
from devcluster.progress import UserError, run, say, step

CHART = HERE.parent / "charts" / "everloop"
NAMESPACE = "everloop-system"
RELEASE = "everloop"
WEBHOOK_SECRET = "everloop-webhook"  # Alertmanager has it too (addons)
READY_SECONDS = 120


def install(info: dict[str, Any], speedup: float) -> None:
    """Build and push the images, install or upgrade the chart, wait until the operator is ready."""
    programs = binaries.find("kubectl", "helm")
    kubectl = [programs["kubectl"], "--kubeconfig", info["kubeconfig"]]
    helm = [programs["helm"], "--kubeconfig", info["kubeconfig"]]
    references = images.push(info["registry"])
    with step(f"namespace {NAMESPACE} and the token that Alertmanager sends"):
        _apply(kubectl, _namespace())
        _apply(kubectl, _webhook_secret(kubectl))
    with step("helm: chart everloop"):
        run(
            [*helm, "upgrade", "--install", RELEASE, CHART, "-n", NAMESPACE, "--values", "-"],
            stdin=json.dumps(values(references, speedup)),
        )
    with step("operator ready"):
        run([*kubectl, "-n", NAMESPACE, "rollout", "status", f"deployment/{RELEASE}",
             f"--timeout={READY_SECONDS}s"])  # fmt: skip


def values(references: dict[str, str], speedup: float) -> dict[str, Any]:
    """The chart's values for the dev cluster."""
    return {
        "image": {name: references[name] for name in ("operator", "runtime", "router")},
        "prometheus": {
            "url": "http://prometheus.monitoring.svc:9090",
            "scrapeInterval": "1s",
            "pollInterval": "1s",
        },
        "webhook": {"existingSecret": WEBHOOK_SECRET},
        "clock": {"speedup": speedup},
    }


def _namespace() -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": labels},
    }


def _webhook_secret(kubectl: list[Any]) -> dict[str, Any]:
    """The Secret of Alertmanager's namespace, in the operator's."""
    text = run([*kubectl, "-n", "monitoring", "get", "secret", WEBHOOK_SECRET, "-o", "json"])
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": WEBHOOK_SECRET, "namespace": NAMESPACE},
        "data": {"token": json.loads(text)["data"]["token"]},
    }


def _apply(kubectl: list[Any], manifest: dict[str, Any]) -> None:
    # on the server's side: kubectl's own get-then-create fails when a create is tried twice
    run([*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-"],
        stdin=json.dumps(manifest))  # fmt: skip


def main() -> int:
    """0 when the operator is ready."""
    parser = argparse.ArgumentParser(prog="python3 -m devcluster.install", description=__doc__)
    parser.add_argument("--name", default="dev", help="which cluster (default: dev)")
    parser.add_argument(
        "--speedup", type=float, default=1.0, help="clock.speedup of the chart (default: 1)"
    )
    options = parser.parse_args()
    started = time.monotonic()
    try:
        info = read_info(options.name)
        if info is None:
            advice = f"make cluster-up NAME={options.name}"
            raise UserError(f"there is no cluster '{options.name}': {advice}")
        install(info, options.speedup)
    except UserError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    faster = f"; time runs {options.speedup:g} times faster" if options.speedup > 1 else ""
    say(f"Everloop is installed after {time.monotonic() - started:.1f} s{faster}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
