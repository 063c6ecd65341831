"""What the chart tells the operator: environment variables, read once at start.

Units are in the names. Every value has the default that a plain `helm install` gives.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Configuration of one operator process."""

    namespace: str = "everloop-system"  # where the operator, its Lease and its CA live
    watch_namespaces: tuple[str, ...] = ()  # empty: all namespaces
    service_name: str = "everloop"  # the Service that runs report to and Alertmanager calls
    pod_uid: str = "local"  # identity in the Lease
    pod_name: str = "local"
    lease_name: str = "everloop-operator"
    lease_seconds: float = 10.0
    runtime_image: str = "everloop/runtime:0.1.0"  # training runner and model server
    router_image: str = "envoyproxy/envoy:v1.40.0"
    image_pull_policy: str = "IfNotPresent"
    pod_defaults: dict[str, Any] = field(default_factory=dict)  # a `pod:` block under every pod
    ca_bundle_config_map: str = ""  # extra CAs for our containers: a ConfigMap with ca.crt
    network_policies: bool = True  # false: those that were made are removed
    proxy: dict[str, str] = field(default_factory=dict)  # HTTP_PROXY, HTTPS_PROXY, NO_PROXY
    prometheus_url: str = ""  # empty: no rules check, no polling
    prometheus_operator: bool = True  # false: its CRDs are not for us, even if they are installed
    rule_labels: dict[str, str] = field(default_factory=dict)  # PrometheusRule/PodMonitor labels
    clock_speedup: float = 1.0  # divides windows, steps, `for`, cooldowns
    scrape_interval_seconds: float = 15.0  # of the Prometheus that scrapes our pods
    poll_interval_seconds: float = 15.0  # how often alerts are polled
    webhook_token_file: str = ""  # bearer token that Alertmanager must send
    report_port: int = 8443
    webhook_port: int = 8444
    metrics_port: int = 8080
    workers: int = 16  # reconciles under way at once; more only make the API server slower for all
    log_level: str = "info"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read `EVERLOOP_<FIELD>`; dicts are JSON, tuples are comma-separated.

        Raises ValueError that names the variable and what it takes.
        """
        values: dict[str, Any] = {}
        for name, default in cls().__dict__.items():
            variable = f"EVERLOOP_{name.upper()}"
            text = environment.get(variable)
            if text is None or (text == "" and not isinstance(default, str)):
                continue
            try:
                values[name] = _parse(text, default)
            except ValueError as error:
                wanted = {
                    dict: "a JSON object",
                    float: "a number",
                    int: "a whole number",
                    bool: "true or false",
                }
                raise ValueError(
                    f"{variable}={text!r} is not {wanted.get(type(default), 'readable')}: {error}"
                ) from error
        return cls(**values)


def _parse(text: str, default: Any) -> Any:
    if isinstance(default, dict):
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return value
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError("neither true nor false")
        return text.lower() == "true"
    return type(default)(text)
