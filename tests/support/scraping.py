"""A real Prometheus that scrapes as a PodMonitor says, set up as by the Prometheus Operator."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from devcluster import binaries
from devcluster.ports import free_ports

Dict = dict[str, Any]
PATIENCE_SECONDS = 30.0
SNAKE = {"sourceLabels": "source_labels", "targetLabel": "target_label"}


@dataclass(frozen=True)
class Pod:
    """A pod that exports a text at a path."""

    name: str
    labels: Mapping[str, str]
    path: str
    text: str


def scrape_config(monitor: Mapping[str, Any], pods: Mapping[str, Pod]) -> Dict:
    """The one scrape job of a PodMonitor; `pods` by address, as discovery would find them.

    As in the Prometheus Operator's pkg/prometheus/promcfg.go (generatePodMonitorConfig): its own
    target labels first, then the PodMonitor's relabelings.
    """
    meta = monitor["metadata"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    own = [
        _copy("__meta_kubernetes_namespace", "namespace"),
        _copy("__meta_kubernetes_pod_container_name", "container"),
        _copy("__meta_kubernetes_pod_name", "pod"),
        {"target_label": "job", "replacement": f"{meta['namespace']}/{meta['name']}"},
        {"target_label": "endpoint", "replacement": endpoint["port"]},
    ]
    return {
        "job_name": f"podMonitor/{meta['namespace']}/{meta['name']}/0",
        "honor_labels": endpoint.get("honorLabels", False),
        "metrics_path": endpoint["path"],
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": endpoint["scrapeTimeout"],
        "static_configs": [
            {"targets": [address], "labels": _discovered(meta["namespace"], pod)}
            for address, pod in pods.items()
        ],
        "relabel_configs": [*own, *map(_snake, endpoint["relabelings"])],
        "metric_relabel_configs": [*map(_snake, endpoint["metricRelabelings"])],
    }


class Scraping:
    """The Prometheus, to be asked."""

    def __init__(self, url: str) -> None:
        self._url = url

    def series(self) -> list[Dict]:
        """Labels of every series it has."""
        query = urllib.parse.urlencode({"match[]": '{__name__!=""}'})
        return list(self._get(f"/api/v1/series?{query}"))

    def value(self, promql: str) -> float | None:
        """Of the one series of an instant query; None if there is none."""
        found = self._get(f"/api/v1/query?{urllib.parse.urlencode({'query': promql})}")["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def wait(self, promql: str) -> None:
        """Until a query answers something."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._quiet(promql):
            assert time.monotonic() < deadline, f"nothing answers {promql}"
            time.sleep(0.1)

    def _quiet(self, promql: str) -> bool:
        try:
            return self.value(promql) is None
        except OSError:
            return True  # it still starts

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self._url}{path}", timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def scraping(monitor: Mapping[str, Any], pods: Sequence[Pod], folder: Path) -> Iterator[Scraping]:
    """A Prometheus that scrapes these pods by this PodMonitor, and has scraped all of them."""
    with ExitStack() as stack:
        addresses = {stack.enter_context(_exporting(pod)): pod for pod in pods}
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump({"scrape_configs": [scrape_config(monitor, addresses)]}))
        prometheus = Scraping(stack.enter_context(_prometheus(file, folder / "data")))
        prometheus.wait(f"count(up == 1) == {len(pods)}")
        yield prometheus


@contextmanager
def _prometheus(config: Path, data: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    command = [
        str(binaries.find("prometheus")["prometheus"]),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (data.parent / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def _exporting(pod: Pod) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == pod.path
            self.send_response(200 if there else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(pod.text.encode() if there else b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (protocol)
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _discovered(namespace: str, pod: Pod) -> Dict:
    prefix = "__meta_kubernetes_pod"
    return {
        "__meta_kubernetes_namespace": namespace,
        f"{prefix}_name": pod.name,
        f"{prefix}_container_name": "main",
        **{f"{prefix}_label_{_plain(name)}": value for name, value in pod.labels.items()},
    }


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _copy(source: str, target: str) -> Dict:
    return {"source_labels": [source], "target_label": target}


def _snake(rule: Mapping[str, Any]) -> Dict:
    return {SNAKE.get(name, name): value for name, value in rule.items()}
