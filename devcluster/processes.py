"""Long-running programs: started detached with a pid file, ended by what that file says.

A pid file holds pid, start time and boot id. All three must fit before a signal is sent, so a pid
that the kernel has given to something else is never touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from devcluster.progress import UserError

# The launcher writes the pid file before it becomes the program: however soon the starter is
# killed after that, the program can be found. Field 22 of stat is the start time.
_LAUNCH = (
    'echo "$$ $(cut -d" " -f22 /proc/$$/stat) $(cat /proc/sys/kernel/random/boot_id)" > "$0.new" '
    '&& mv "$0.new" "$0" && exec "$@"'
)


class Processes:
    """The processes of one state folder: pid files in `run/`, output in `log/`."""

    def __init__(self, state: Path, prefix: Sequence[str] = ()) -> None:
        self.pids = state / "run"
        self.logs = state / "log"
        # Put before every command, to enter a network namespace.
        self.prefix = list(prefix)

    def start(self, name: str, command: Sequence[object]) -> None:
        """Start a program that outlives this one."""
        self.pids.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        words = [*self.prefix, *(str(word) for word in command)]
        with self.log(name).open("ab") as log:
            subprocess.Popen(
                ["/bin/sh", "-c", _LAUNCH, str(self.pids / f"{name}.pid"), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.logs / f"{name}.log"

    def running(self, name: str) -> int | None:
        """The pid of a program that was started here and still runs."""
        return _alive(self.pids / f"{name}.pid")

    def names(self) -> list[str]:
        """Every program that has a pid file, running or not."""
        return sorted(file.stem for file in self.pids.glob("*.pid"))

    def stop(self, *names: str, seconds: float = 5) -> None:
        """End programs by SIGTERM, and by SIGKILL when that is not obeyed in time."""
        pids = [pid for name in names if (pid := self.running(name))]
        end(pids, seconds)
        for name in names:
            (self.pids / f"{name}.pid").unlink(missing_ok=True)

    def explain(self, name: str) -> str:
        """The last lines that a program wrote, for an error message."""
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()[-8:]
        except FileNotFoundError:
            return f"{name} never started"
        return f"The end of {self.log(name)}:\n" + "\n".join(lines)

    def require(self, *names: str) -> None:
        """Raise when one of these programs has ended."""
        for name in names:
            started = (self.pids / f"{name}.pid").exists()
            if started and self.running(name) is None:
                raise UserError(f"{name} ended by itself. {self.explain(name)}")


def end(pids: Iterable[int], seconds: float) -> None:
    """SIGTERM, up to `seconds` of patience, SIGKILL, and wait until none is left."""
    identities = {pid: start for pid in pids if (start := start_time(pid))}
    for signal_number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        for pid, start in identities.items():
            if start_time(pid) == start:
                _signal(pid, signal_number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if all(start_time(pid) != start for pid, start in identities.items()):
                return
            time.sleep(0.02)


def start_time(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None for one that is gone or a zombie."""
    try:
        # The name in parentheses may hold spaces, so count from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _alive(pid_file: Path) -> int | None:
    try:
        pid, start, boot = pid_file.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    same_boot = boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return int(pid) if same_boot and start_time(int(pid)) == start else None


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
