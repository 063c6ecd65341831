"""Latency and throughput of the model server, with a real pipeline over real HTTP.

    python -m bench.model_server [--seconds 5]

Trains the pipeline of the unit tests (gradient boosting over four raw columns), serves it as a pod
does, and sends one-row requests from 1, 8 and 32 connections. Client and server share the machine;
the server's own CPU time per request is what depends least on that.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
from devcluster.ports import free_ports

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from training_pod import INPUTS, dump, fit, make_rows

from everloop import contract
from everloop_server.score import served_columns
from everloop_server.signature import Signature, Tensor
from everloop_training import store
from everloop_training.profile import build_profile

START_SECONDS = 300


def prepare(folder: Path) -> tuple[dict[str, str], bytes]:
    """A model, its profile and its signature in `folder`: the server's environment, one request."""
    rows = make_rows()
    model = fit(rows)
    dump(model, folder / "model")
    inputs = served_columns(rows, INPUTS)[1]
    probability = pd.Series(model.predict_proba(rows[INPUTS])[:, 1], name="predict_proba")
    profile = build_profile(
        rows,
        {tensor.name: tensor.datatype for tensor in inputs},
        output=probability,
        output_numeric=True,
        held_out=np.ones(len(rows), dtype=bool),
        times=pd.DatetimeIndex(rows["time"]),
    )
    content = json.dumps(profile).encode()
    (folder / "profile.json").write_bytes(content)
    outputs = (Tensor("predict", "INT64"), Tensor("predict_proba", "FP64", (-1, 2)))
    http, metrics = free_ports(2)
    environment = {
        **os.environ,
        contract.ENV_MODEL_NAME: "flights",
        contract.ENV_DEPLOYMENT: "flights",
        contract.ENV_MODEL_VERSION: "flights-v1",
        contract.ENV_ARTIFACT_URI: f"file://{folder}/model",
        contract.ENV_ARTIFACT_DIGEST: store.digest(store.hash_folder(folder / "model")),
        contract.ENV_PROFILE_URI: f"file://{folder}/profile.json",
        contract.ENV_PROFILE_DIGEST: f"sha256:{hashlib.sha256(content).hexdigest()}",
        contract.ENV_SIGNATURE: json.dumps(Signature(inputs, outputs).to_dict()),
        "EVERLOOP_HTTP_PORT": str(http),
        "EVERLOOP_METRICS_PORT": str(metrics),
        "EVERLOOP_DRAIN_SECONDS": "0",
    }
    one = rows[INPUTS].iloc[0]
    body = {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": [1, 1],
                "data": [None if pd.isna(one[tensor.name]) else one[tensor.name].item()]
                if tensor.datatype != "BYTES"
                else [one[tensor.name]],
            }
            for tensor in inputs
        ]
    }
    for item in body["inputs"]:
        if item["datatype"] == "BOOL":
            item["data"] = [bool(item["data"][0])]
    return environment, json.dumps(body).encode()


async def load(port: int, body: bytes, connections: int, seconds: float) -> list[float]:
    """Latencies of all requests that `connections` clients send one after another."""
    head = (
        f"POST /v2/models/flights/infer HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            started = time.perf_counter()
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
            lower = answer.lower()
            length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - started)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return latencies


def cpu_seconds(metrics_url: str) -> float:
    """CPU time of the server so far, as it exposes it."""
    with urllib.request.urlopen(metrics_url) as response:
        for line in response.read().decode().splitlines():
            if line.startswith("process_cpu_seconds_total"):
                return float(line.split()[1])
    raise RuntimeError("the server exposes no process_cpu_seconds_total")


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server is not ready")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each number of connections")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        environment, body = prepare(Path(name))
        port = int(environment["EVERLOOP_HTTP_PORT"])
        metrics = f"http://127.0.0.1:{environment['EVERLOOP_METRICS_PORT']}/metrics"
        command = [sys.executable, "-m", "everloop_server"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
            try:
                wait_until_ready(f"http://127.0.0.1:{port}/v2/health/ready")
                asyncio.run(load(port, body, 1, 1.0))  # warm up
                print("connections  requests/s    p50 ms    p95 ms  server CPU ms/request")
                for connections in (1, 8, 32):
                    before = cpu_seconds(metrics)
                    latencies = np.array(asyncio.run(load(port, body, connections, seconds)))
                    used = (cpu_seconds(metrics) - before) / len(latencies)
                    p50, p95 = np.quantile(latencies, [0.5, 0.95]) * 1000
                    rate = len(latencies) / seconds
                    print(
                        f"{connections:11d} {rate:11.0f} {p50:9.1f} {p95:9.1f} {used * 1000:22.2f}"
                    )
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
