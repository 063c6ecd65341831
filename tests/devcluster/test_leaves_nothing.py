"""The dev cluster's start survives being killed, and `down` leaves the machine as it was.

Needs root and no Docker engine; each test makes a cluster of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from devcluster import packages
from devcluster.control_plane_only import ControlPlane
from devcluster.paths import state_folder

NAME = "leaves-nothing"
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() != 0 or packages.docker_answers(),
        reason="only the cluster without Docker, which needs root, is made of these parts",
    ),
]


def everything_on_the_machine() -> dict[str, list[str]]:
    """Whatever a cluster is made of, by kind, of the whole machine but other clusters' pods."""
    return {
        "processes": _processes(),
        "mounts": _ours(Path("/proc/self/mounts").read_text()),
        "namespaces": _ours(_output("ip", "netns", "list"), NAME),
        "links": sorted(line.split()[0].split("@")[0] for line in _lines("ip", "-br", "link")),
        "rules": [line for line in _lines("iptables-save") if not line.startswith(("#", ":"))],
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob(f"*/*{NAME}*")),
        "routes": _lines("ip", "route"),
        "state": [str(path) for path in [state_folder(NAME)] if path.exists()],
        "traces": sorted(
            str(path)
            for pattern in (f"lib/cni/results/everloop-{NAME}-*", "log/containers/*")
            for path in Path("/var").glob(pattern)
            if NAME in str(path) or NAME in str(path.resolve())
        ),
    }


def _processes() -> list[str]:
    """Processes that name our state folder, or that run inside one of our pods."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text().replace("\0", " ")
            cgroups = (folder / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(state_folder(NAME)) in command or f"everloop-{NAME}/" in cgroups:
            found.append(command)
    return found


def _ours(text: str, part: str = "") -> list[str]:
    wanted = part or str(state_folder(NAME))
    return sorted(line for line in text.splitlines() if wanted in line)


def _lines(*command: str) -> list[str]:
    return sorted(_output(*command).splitlines())


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _devcluster(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "devcluster", *arguments, "--name", NAME]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def _must_succeed(*arguments: str) -> None:
    command = _devcluster(*arguments)
    _, errors = command.communicate()
    assert command.returncode == 0, errors


def _killed_when(reached: Callable[[], bool]) -> None:
    """Start a cluster, and kill the command (not what it started) once it came that far."""
    command = _devcluster("up", "--bare")
    deadline = time.monotonic() + 120
    while not reached():
        assert command.poll() is None, "the start ended before the point where it is to be killed"
        assert time.monotonic() < deadline, "the start never came to that point"
        time.sleep(0.005)
    command.send_signal(signal.SIGKILL)
    command.communicate()
    assert command.returncode == -signal.SIGKILL


@pytest.fixture
def before() -> Iterator[dict[str, list[str]]]:
    """The machine before the test, without a cluster of our name."""
    _must_succeed("down")
    yield everything_on_the_machine()
    _must_succeed("down")


def test_after_down_nothing_is_left(before: dict[str, list[str]]) -> None:
    _must_succeed("up", "--bare")
    during = everything_on_the_machine()
    for kind in ("processes", "mounts", "namespaces", "links", "cgroups", "state", "traces"):
        assert during[kind] != before[kind], f"this test does not see the cluster's {kind}"
    _must_succeed("down")
    assert everything_on_the_machine() == before


POINTS = {
    "namespace": lambda: Path(f"/run/netns/everloop-{NAME}").exists(),
    "certificates": (state_folder(NAME) / "pki/ca.crt").exists,
    "etcd": (state_folder(NAME) / "run/etcd.pid").exists,
    "containerd": (state_folder(NAME) / "containerd.sock").exists,
    "kubelet": (state_folder(NAME) / "run/kubelet.pid").exists,
    "pod": lambda: any((state_folder(NAME) / "pod-logs").glob("*")),
}


def test_up_succeeds_after_being_killed_anywhere(before: dict[str, list[str]]) -> None:
    for reached in POINTS.values():
        _must_succeed("down")
        _killed_when(reached)
        # The next start finds what the killed one left and is itself killed a moment later.
        _killed_when(POINTS["etcd"])
    _must_succeed("up", "--bare")
    status = subprocess.run(
        [sys.executable, "-m", "devcluster", "status", "--name", NAME],
        check=False, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert status.returncode == 0, status.stdout
    _must_succeed("down")
    assert everything_on_the_machine() == before


@pytest.mark.parametrize("point", POINTS)
def test_down_after_a_killed_up_leaves_nothing(point: str, before: dict[str, list[str]]) -> None:
    _killed_when(POINTS[point])
    _must_succeed("down")
    assert everything_on_the_machine() == before


def test_a_recycled_pid_is_never_signalled(before: dict[str, list[str]]) -> None:
    innocent = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        pid_file = state_folder(NAME) / "run/kubelet.pid"
        pid_file.parent.mkdir(parents=True)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The pid of a process that lives, with the start time of one that does not.
        pid_file.write_text(f"{innocent.pid} 1 {boot}\n")
        _must_succeed("down")
        assert innocent.poll() is None
        assert everything_on_the_machine() == before
    finally:
        innocent.kill()
        innocent.communicate()


def test_an_api_server_without_a_node_restarts_and_leaves_nothing(
    before: dict[str, list[str]],
) -> None:
    plane = ControlPlane(NAME)
    plane.start()
    kubectl = ["python3", "-m", "devcluster", "binary", "kubectl"]
    words = [_output(*kubectl).strip(), "--kubeconfig", str(plane.kubeconfig)]
    _output(*words, "create", "configmap", "kept")
    plane.restart_apiserver()
    assert "kept" in _output(*words, "get", "configmaps", "-o", "name")
    plane.stop()
    assert everything_on_the_machine() == before
