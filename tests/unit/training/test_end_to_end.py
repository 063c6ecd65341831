"""A whole run without a cluster: fetch, train, evaluate, package, report, serve, watch.

The model is real, the store is a folder, the report goes over TLS, and the server is the process
that a pod runs, asked over HTTP.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from devcluster.ports import free_ports
from prometheus_client.parser import text_string_to_metric_families
from report_server import report_server
from training_pod import INPUTS, TrainingPod, dump, evaluate, fit, make_rows, write_days

from everloop import contract
from everloop.api.report import parse
from everloop_training.fetch import fetch
from everloop_training.package import package

SERVER_START_SECONDS = 180  # a busy machine; alone it takes a few


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def infer_request(rows: pd.DataFrame, report: dict[str, Any]) -> dict[str, Any]:
    """Rows as a V2 request."""
    inputs = [
        {
            "name": tensor["name"],
            "datatype": tensor["datatype"],
            "shape": [len(rows), 1],
            "data": [None if pd.isna(value) else value for value in rows[tensor["name"]].tolist()],
        }
        for tensor in report["signature"]["inputs"]
    ]
    return {"inputs": inputs}


@dataclass
class Served:
    """A running model server."""

    process: subprocess.Popen[str]
    url: str
    metrics_url: str
    at_start: dict[tuple[str, ...], float] = field(default_factory=dict)

    def samples(self) -> dict[tuple[str, ...], float]:
        """Samples by name and the labels that tell them apart."""
        with urllib.request.urlopen(self.metrics_url, timeout=10) as response:
            text = response.read().decode()
        shown = ("side", "feature", "bin", "window", "reason")
        return {
            (sample.name, *(sample.labels[name] for name in shown if name in sample.labels)): (
                sample.value
            )
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@contextmanager
def served(report: dict[str, Any]) -> Iterator[Served]:
    """Serve what a report names, as the Deployment's pod does, until the block ends."""
    http, metrics = free_ports(2)
    environment = {
        **os.environ,
        contract.ENV_MODEL_NAME: "flights",
        contract.ENV_DEPLOYMENT: "flights",
        contract.ENV_MODEL_VERSION: "flights-v1",
        contract.ENV_ARTIFACT_URI: report["artifact"]["uri"],
        contract.ENV_ARTIFACT_DIGEST: report["artifact"]["digest"],
        contract.ENV_PROFILE_URI: report["profile"]["uri"],
        contract.ENV_PROFILE_DIGEST: report["profile"]["digest"],
        contract.ENV_SIGNATURE: json.dumps(report["signature"]),
        "EVERLOOP_HTTP_PORT": str(http),
        "EVERLOOP_METRICS_PORT": str(metrics),
        "EVERLOOP_DRAIN_SECONDS": "2",
    }
    command = [sys.executable, "-m", "everloop_server"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        server = Served(process, f"http://127.0.0.1:{http}", f"http://127.0.0.1:{metrics}/metrics")
        try:
            wait_until_ready(server)
            server.at_start = server.samples()
            yield server
        finally:
            process.terminate()
            process.communicate(timeout=30)


def wait_until_ready(server: Served) -> None:
    deadline = time.monotonic() + SERVER_START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if ask(f"{server.url}{'/v2/health/ready'}")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    server.process.terminate()
    said, _ = server.process.communicate(timeout=30)
    pytest.fail(f"the model server is not ready:\n{said}")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, rows: pd.DataFrame) -> dict[str, Any]:
    """The report of a run that had a champion, as the operator got it."""
    folder = tmp_path_factory.mktemp("run")
    write_days(rows, folder / "store")
    metric = {"metric": "val_auc", "direction": "Maximize"}
    champion = fit(rows[:400], max_leaf_nodes=2)
    dump(champion, folder / "champion")
    pod = TrainingPod(
        folder / "pod",
        data=[{"name": "train", "uri": f"file://{folder}/store/", "digest": None}],
        champion={
            "deployment": "flights",
            "modelVersion": "flights-v0",
            "digest": digest_of(folder / "champion"),
            "uri": f"file://{folder}/champion",
            "format": "sklearn",
        },
        versus=[metric],
    )
    fetch(pod.layout, {})
    files = sorted((pod.layout.data / "train").glob("*.parquet"))
    data = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
    model = fit(data[:1200])
    dump(model, pod.layout.output / "model")
    evaluate(model, data, pod.layout.output)
    evaluate(champion, data, pod.layout.champion, reference=False)
    for name in ("train", "evaluate", "evaluate-champion"):
        pod.record_step(name)
    with report_server(folder / "tls", [503]) as server:
        shutil.copy(server.certificate, pod.layout.ca)
        environment = {contract.ENV_REPORT_URL: server.url, contract.ENV_ATTEMPT: "2"}
        package(pod.layout, environment)
        body = server.bodies[-1]
    parse(body)  # as the operator reads it
    termination = pod.layout.termination_log.read_bytes()
    assert len(termination) < 1200
    report: dict[str, Any] = json.loads(body)
    assert json.loads(termination)["artifact"] == report["artifact"]["digest"]
    return report


def digest_of(folder: Path) -> str:
    from everloop_training import store

    return store.digest(store.hash_folder(folder))


@pytest.fixture(scope="module")
def server(run: dict[str, Any]) -> Iterator[Served]:
    with served(run) as running:
        yield running


def test_the_report_says_what_was_used_and_made(run: dict[str, Any]) -> None:
    assert (run["outcome"], run["attempt"], run["uid"]) == ("Succeeded", 2, "u-1")
    assert [step["name"] for step in run["steps"]] == ["evaluate", "evaluate-champion", "train"]
    assert run["resolved"]["data"][0]["rows"] == 2400
    assert run["resolved"]["trainingCutoff"] == "2013-01-20T23:54:00Z"
    assert run["holdOut"]["rows"] == 1200
    assert run["holdOut"]["timeSpan"]["start"] == "2013-01-21T00:00:00Z"
    assert run["artifact"]["uri"].endswith(f"/{run['artifact']['digest'].replace(':', '-')}/model")
    assert [(item["name"], item["datatype"]) for item in run["signature"]["inputs"]] == [
        ("carrier", "BYTES"),
        ("hour", "INT64"),
        ("temp", "FP64"),
        ("night", "BOOL"),
    ]
    outputs = [(item["name"], item["shape"]) for item in run["signature"]["outputs"]]
    assert outputs == [("predict", [-1, 1]), ("predict_proba", [-1, 2])]


def test_the_champion_was_compared(run: dict[str, Any]) -> None:
    versus = run["versus"]
    assert versus["outcome"] == "Compared"
    interval = versus["intervals"]["val_auc"]
    gain = float(run["metrics"]["val_auc"]) - float(versus["metrics"]["val_auc"])
    assert float(interval["difference"]) == pytest.approx(gain, abs=1e-6)
    assert float(interval["low"]) < gain < float(interval["high"])


def test_every_bin_is_there_before_any_request(server: Served, run: dict[str, Any]) -> None:
    profile = json.loads(Path(run["profile"]["uri"].removeprefix("file://")).read_text())
    samples = server.at_start
    for side, features in (("input", profile["inputs"]), ("output", profile["outputs"])):
        for feature in features:
            for label, fraction in zip(feature["bins"], feature["fractions"], strict=True):
                key = (side, feature["name"], label)
                assert samples[contract.METRIC_BINS, *key] == 0
                assert samples[contract.METRIC_REFERENCE, *key] == fraction
    assert samples[contract.METRIC_REFERENCE_ROWS, "input"] == 2400
    assert samples[contract.METRIC_REFERENCE_ROWS, "output"] == 1200
    assert samples[contract.METRIC_CALIBRATION, "input", "temp", "1d"] > 0
    assert samples[contract.METRIC_REQUESTS,] == 0
    assert samples[contract.METRIC_INVALID, "missing_input"] == 0


def test_requests_are_answered_and_counted(
    server: Served, run: dict[str, Any], rows: pd.DataFrame
) -> None:
    before = server.samples()
    model_url = f"{server.url}/v2/models/flights"
    status, answer = ask(f"{model_url}/infer", infer_request(rows[:50], run))
    assert (status, answer["model_version"]) == (200, "flights-v1")
    predict, probability = answer["outputs"]
    assert (predict["shape"], predict["datatype"]) == ([50, 1], "INT64")
    assert (probability["shape"], len(probability["data"])) == ([50, 2], 100)
    assert predict["data"] == [int(value > 0.5) for value in probability["data"][1::2]]

    status, answer = ask(f"{model_url}/infer", {"inputs": []})
    assert status == 400
    assert "'carrier' is missing" in answer["error"]
    assert ask(f"{server.url}/v2/models/other/infer", {"inputs": []})[0] == 404

    after = server.samples()
    grown = {key: value - before[key] for key, value in after.items() if key in before}
    assert grown[contract.METRIC_REQUESTS,] == 3
    assert grown[contract.METRIC_DURATION + "_count",] == 3
    assert grown[contract.METRIC_INVALID, "missing_input"] == 1
    assert grown[contract.METRIC_INVALID, "not_found"] == 1
    assert grown[contract.METRIC_ERRORS,] == 0
    for feature in INPUTS:
        counted = [
            value
            for key, value in grown.items()
            if key[:3] == (contract.METRIC_BINS, "input", feature)
        ]
        assert sum(counted) == 50
    missing = grown[contract.METRIC_BINS, "input", "temp", "missing"]
    assert missing == rows["temp"][:50].isna().sum()


def test_metadata_is_the_signature(server: Served, run: dict[str, Any]) -> None:
    status, answer = ask(f"{server.url}/v2/models/flights")
    assert status == 200
    assert answer["inputs"] == run["signature"]["inputs"]
    assert answer["outputs"] == run["signature"]["outputs"]


def test_nobody_can_unload_the_model(server: Served, run: dict[str, Any]) -> None:
    assert ask(f"{server.url}/v2/repository/models/flights/unload", {})[0] == 404
    assert ask(f"{server.url}/v2/health/ready")[0] == 200


def test_stopping_answers_those_who_have_not_noticed(
    server: Served, run: dict[str, Any], rows: pd.DataFrame
) -> None:
    """The last test here: it ends the server that all of them share."""
    server.process.terminate()
    deadline = time.monotonic() + 10
    while ask(f"{server.url}/v2/health/ready")[0] == 200:
        assert time.monotonic() < deadline, "still ready after SIGTERM"
    status, _ = ask(f"{server.url}/v2/models/flights/infer", infer_request(rows[:1], run))
    assert status == 200
    assert server.process.wait(timeout=60) == 0
