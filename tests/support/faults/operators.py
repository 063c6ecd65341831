"""Operator processes that can be killed, and are started again as a kubelet would."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp

from faults.proxy import Proxy

ZYGOTE = Path(__file__).parent / "zygote.py"
# Configuration of the machine that must not reach the operator: NumPy would start threads.
QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
RESTART_SECONDS = 0.1
ENTRY = re.compile(
    r"^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} )", re.M
)  # where one of its log begins
TROUBLE = re.compile("Traceback \\(most recent call last\\)|the pass failed")
OF_REQUESTS = "everloop.errors."
# Below those of outgoing connections; processes side by side begin at different ones.
_PORTS = itertools.cycle(random.sample(range(20000, 32000), 12000))


class Zygote:
    """Starts operators of one source tree; see zygote.py."""

    def __init__(self, sources: Path, *, limited: bool = True) -> None:
        """`limited` to the chart's rights, which may lack what a release before used."""
        self._sources = sources
        self.limited = limited
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Import the operator, which takes seconds."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ZYGOTE),
            str(self._sources),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: text for name, text in (os.environ | QUIET).items() if text},
        )

    async def spawn(self, environment: dict[str, str], log: Path) -> int:
        """A new operator; its pid. Cut off, it would leave its answer to the next that asks."""
        return await asyncio.shield(self._spawn(environment, log))

    async def stop(self) -> None:
        """End it and all that it started."""
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            await process.wait()

    # --- inside -----------------------------------------------------------------------------------
    async def _spawn(self, environment: dict[str, str], log: Path) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            line = json.dumps({"environment": environment, "log": str(log)})
            self._process.stdin.write(f"{line}\n".encode())
            answer = await self._process.stdout.readline()
        if not answer:
            raise AssertionError(f"operators of {self._sources} cannot be started")
        return int(answer)


class Operator:
    """One replica: it is started again whenever it ends, until `stop`."""

    def __init__(
        self, zygote: Zygote, proxy: Proxy, folder: Path, identity: str, settings: dict[str, Any]
    ) -> None:
        """Its log is in `folder`; `settings` are fields of everloop.settings.Settings."""
        place = f"{settings['namespace']}-{identity}"
        self.zygote = zygote
        self.identity = identity
        self.proxy = proxy
        self.log = folder / f"{place}.log"
        self.metrics_port, self.report_port, webhook = _free_ports(3)
        self._kubeconfig = folder / f"{place}.kubeconfig"
        self._settings = settings | {
            "metrics_port": self.metrics_port,
            "report_port": self.report_port,
            "webhook_port": webhook,
        }
        self._pidfd: int | None = None
        self._ended = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._wanted = False
        self._killed = False
        self.release = zygote  # of the process that was started last
        self.starts = 0
        self.upgrades = 0  # that ended a process

    async def start(self) -> None:
        """Start it behind its proxy, and keep it running."""
        await self.proxy.start()
        self.proxy.write_kubeconfig(self._kubeconfig)
        self._wanted = True
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    def kill(self) -> bool:
        """SIGKILL: not another instruction. Whether it had been alive."""
        alive = self._pidfd is not None and not self._killed
        self._killed = True
        self._signal(signal.SIGKILL)
        return alive

    def upgrade(self, release: Zygote) -> bool:
        """To another release; whether the process is of that one now."""
        self.zygote = release
        if self.release is not release:
            self.upgrades += self.kill()
        return self.release is release

    def pause(self) -> None:
        """SIGSTOP: it lives, and sees and does nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """SIGKILL for good."""
        self._wanted = False
        if self._keeper is not None:
            self.kill()
            await self._keeper
        await self.proxy.stop()

    async def idle(self) -> bool:
        """Whether it leads, nothing waits, nothing runs, and nothing has to be tried again."""
        values = await self._metrics()
        return (
            values.get("everloop_operator_leader") == 1
            and values.get("everloop_operator_queue_depth") == 0
            and values.get("everloop_operator_reconciles_running") == 0
            and values.get("everloop_operator_backing_off", 0) == 0  # the release before has none
        )

    async def leads(self) -> bool:
        """Whether it acts."""
        return (await self._metrics()).get("everloop_operator_leader") == 1

    def complaints(self, foreseen: frozenset[str]) -> list[str]:
        """Bugs that its log tells of; not these entries where the error is a request's."""
        found = []
        for entry in filter(TROUBLE.search, ENTRY.split(self.said())):
            first, *_, last = entry.splitlines()
            excused = last.startswith(OF_REQUESTS) and any(text in first for text in foreseen)
            found += [] if excused else [f"{first} … {last}"]
        return found

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log."""
        return "\n".join(self.said().splitlines()[-lines:])

    def said(self) -> str:
        """Its log, of all its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    # --- inside -----------------------------------------------------------------------------------
    async def _metrics(self) -> dict[str, float]:
        """Its metrics without labels; none if it does not answer."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(url) as answer,
            ):
                lines = (await answer.text()).splitlines()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return {}
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def _spawn(self) -> None:
        values = {"pod_uid": self.identity, "pod_name": "operator"} | self._settings
        environment = {f"EVERLOOP_{name.upper()}": str(value) for name, value in values.items()}
        environment["KUBECONFIG"] = str(self._kubeconfig)
        release = self.zygote
        self.proxy.limited = release.limited
        pid = await release.spawn(environment, self.log)
        self.release = release
        self.starts += 1
        self._killed = False
        self._ended = asyncio.Event()
        self._pidfd = fd = os.pidfd_open(pid)
        # Readable once the process has ended, whoever its parent is.
        asyncio.get_running_loop().add_reader(fd, self._end, fd)

    def _end(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        self._pidfd = None
        self._ended.set()

    async def _keep(self) -> None:
        """Never cancelled: what a spawn that is cut off started, nobody would end."""
        while True:
            await self._ended.wait()
            await asyncio.sleep(RESTART_SECONDS)  # as a kubelet: never at once
            if not self._wanted:
                return
            await self._spawn()
            if not self._wanted:
                self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd is not None:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that no outgoing connection is given meanwhile."""
    found: list[int] = []
    while len(found) < count:
        port = next(_PORTS)
        try:
            socket.create_server(("", port)).close()
        except OSError:
            continue
        found.append(port)
    return found
