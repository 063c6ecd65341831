"""`status`: one table that fits a terminal."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from devcluster import binaries
from devcluster.paths import read_info, state_folder
from devcluster.processes import Processes
from devcluster.progress import UserError


def show(name: str) -> int:
    """Print what runs; 0 when everything that belongs to the cluster is ready."""
    info = read_info(name)
    if info is None:
        left = " (an unfinished one has left its state; `up` begins anew)"
        print(f"cluster '{name}': down{left if state_folder(name).exists() else ''}")
        return 1
    rows = [("cluster", f"{name} ({info['kind']})")]
    ready = _add_processes(rows, name)
    if info["kind"] == "control-plane":
        rows.append(("server", info["server"]))
    else:
        ready &= _add_cluster(rows, info)
    rows.append(("kubeconfig", info["kubeconfig"]))
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"{label:<{width}}  {value}")
    return 0 if ready else 1


def _add_processes(rows: list[tuple[str, str]], name: str) -> bool:
    processes = Processes(state_folder(name))
    ended = [part for part in processes.names() if processes.running(part) is None]
    for part in ended:
        rows.append((part, f"ended; see {processes.log(part)}"))
    pids = [pid for part in processes.names() if (pid := processes.running(part))]
    if pids:
        resident = sum(_resident_mib(pid) for pid in pids)
        rows.append(("processes", f"{len(pids)} running, {resident} MiB resident"))
    return not ended


def _add_cluster(rows: list[tuple[str, str]], info: dict[str, Any]) -> bool:
    try:
        node = _kubectl(info, "get", "nodes", "--no-headers").split()
        rows.append(("node", f"{node[0]}  {node[1]}  {node[-1]}  {info['nodeIP']}"))
        pods = _kubectl(info, "get", "pods", "-A", "--no-headers").splitlines()
    except UserError as error:
        rows.append(("API server", str(error)))
        return False
    all_ready = node[1] == "Ready"
    for namespace in sorted({pod.split()[0] for pod in pods}):
        states = [pod.split() for pod in pods if pod.split()[0] == namespace]
        waiting = [f"{pod[1]} {pod[3]}" for pod in states if not _good(pod[2], pod[3])]
        rows.append((f"pods {namespace}", f"{len(states) - len(waiting)} of {len(states)} ready"))
        rows += [("", line) for line in waiting]
        all_ready &= not waiting
    dns = [pod.split() for pod in pods if pod.split()[1].startswith("coredns-")]
    rows.append(("DNS", "ready" if any(_good(pod[2], pod[3]) for pod in dns) else "not ready"))
    rows.append(("registry", info["registry"]))
    return all_ready


def _good(containers: str, state: str) -> bool:
    ready, _, wanted = containers.partition("/")
    return state == "Completed" or (state == "Running" and ready == wanted)


def _kubectl(info: dict[str, Any], *arguments: str) -> str:
    kubectl = binaries.find("kubectl")["kubectl"]
    command = [kubectl, "--kubeconfig", info["kubeconfig"], "--request-timeout=5s", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UserError((done.stderr.strip() or "does not answer").splitlines()[-1][:90])
    return done.stdout


def _resident_mib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024
