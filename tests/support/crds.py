"""The CustomResourceDefinitions that tests on an API server install."""

from __future__ import annotations

from pathlib import Path

import yaml
from devcluster import binaries
from kube import Json
from toy import CRD

ROOT = Path(__file__).parents[2]


def all_crds() -> list[Json]:
    """Ours, the toy's, and the two of the Prometheus Operator that we write."""
    files = sorted((ROOT / "crds").glob("*.yaml"))
    monitoring = binaries.prometheus_operator_crds()
    files += sorted(monitoring.glob("*prometheusrules.yaml"))
    files += sorted(monitoring.glob("*podmonitors.yaml"))
    return [CRD, *(yaml.safe_load(file.read_text()) for file in files)]
