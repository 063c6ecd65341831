"""The operator as it runs in production, as a process against a test's API server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from devcluster.ports import free_ports

T = TypeVar("T")
SUPPORT = Path(__file__).parent
TOY = [str(SUPPORT / "toy_operator.py")]
EVERLOOP = ["-m", "everloop"]


def eventually(check: Callable[[], T | None], seconds: float, what: str = "") -> T:
    """Poll until `check` answers something true, and return it; AssertionError at the deadline.

    A check may also raise AssertionError, whose message is then the reason.
    """
    deadline = time.monotonic() + seconds
    reason = ""
    while True:
        try:
            found = check()
        except AssertionError as error:
            found, reason = None, str(error)
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'not so'} after {seconds} s. {reason}")
        time.sleep(0.05)  # between two looks, never instead of one


class OperatorProcess:
    """One replica. Use as a context manager; it is ended by SIGTERM, and killed if need be."""

    def __init__(
        self,
        kubeconfig: Path,
        log: Path,
        *,
        command: list[str] = TOY,
        identity: str = "replica-1",
        **settings: Any,
    ) -> None:
        """`settings` are fields of everloop.settings.Settings."""
        self.log = log
        self.identity = identity
        self._command = command
        ports = free_ports(3)
        self.metrics_port, self.report_port, self.webhook_port = ports
        values = {
            "namespace": "default",
            "pod_uid": identity,
            "pod_name": identity,
            "metrics_port": ports[0],
            "report_port": ports[1],
            "webhook_port": ports[2],
        } | settings
        self._environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            **{f"EVERLOOP_{name.upper()}": str(value) for name, value in values.items()},
        }
        # Tests wait for many starts, and compiled modules are half of each.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> OperatorProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command], env=self._environment, stdout=log, stderr=log
            )

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the operator ignored SIGTERM. {self.tail()}") from None
        finally:
            self._process = None
        return code

    def kill(self) -> None:
        """SIGKILL: no good-bye, the Lease stays."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """SIGSTOP: it lives, and sees and does nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def resident_bytes(self) -> int:
        """Memory of the process."""
        return self._memory("VmRSS")

    def peak_bytes(self) -> int:
        """The most memory that the process had since its start, or since `forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        """The peak is what the process has now."""
        (self._proc / "clear_refs").write_text("5")

    def processor_seconds(self) -> float:
        """What the process computed so far, in all threads, user and system."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def _proc(self) -> Path:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}")

    def _memory(self, name: str) -> int:
        lines = (self._proc / "status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    def exit_code(self) -> int | None:
        """None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def wait_exit(self, seconds: float) -> int:
        """The exit code, once it has ended by itself."""

        def ended() -> tuple[int] | None:
            code = self.exit_code()
            return None if code is None else (code,)

        return eventually(ended, seconds, f"it goes on. {self.tail()}")[0]

    def wait_leading(self, seconds: float = 120) -> None:
        """Until this replica acts."""
        what = f"no leader. {self.tail()}"
        eventually(lambda: self.metric("everloop_operator_leader") == 1, seconds, what)

    def wait_idle(self, seconds: float = 60) -> None:
        """Until it leads, and nothing waits and nothing runs, twice in a row."""

        def idle() -> bool:
            assert self._process is None or self._process.poll() is None, self.tail()
            text = self.get("/metrics")[1]
            return (
                _metric(text, "everloop_operator_leader") == 1
                and _metric(text, "everloop_operator_queue_depth") == 0
                and _metric(text, "everloop_operator_reconciles_running") == 0
            )

        eventually(lambda: idle() and idle(), seconds, "not idle")

    def get(self, path: str) -> tuple[int, str]:
        """GET a page of the operator's own server: status (0 for no answer) and text."""
        url = f"http://127.0.0.1:{self.metrics_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float | None:
        """A metric without labels, or the sum over all labels."""
        return _metric(self.get("/metrics")[1], name)

    def tail(self) -> str:
        """The last lines of the log, for messages."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


class Writes:
    """What an operator wrote, by the API server's audit log."""

    def __init__(self, audit_log: Path, agent: str = "everloop") -> None:
        self._file = audit_log
        self._agents = (agent, f"{agent}-watch")  # our client's, and kopf's
        self._offset = audit_log.stat().st_size if audit_log.exists() else 0

    def seen(self) -> list[tuple[str, str, str]]:
        """(verb, resource[/subresource], name) of each write since this was made, but of leases."""
        found = []
        with self._file.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # the API server is writing it
                entry = json.loads(line)
                about = entry.get("objectRef") or {}
                reads = entry["verb"] in ("get", "list", "watch")
                lease = about.get("resource") == "leases"
                if reads or lease or entry.get("userAgent") not in self._agents:
                    continue
                if entry["stage"] != "ResponseComplete":
                    continue
                resource = "/".join(
                    part for part in (about.get("resource"), about.get("subresource")) if part
                )
                found.append((entry["verb"], resource, about.get("name", "")))
        return found


def _metric(text: str, name: str) -> float | None:
    values = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.split("{")[0].split(" ")[0] == name
    ]
    return sum(values) if values else None
