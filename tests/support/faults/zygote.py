"""Starts operators without the seconds that importing takes: a process that forks itself.

`python zygote.py FOLDER`: the operator's sources are in FOLDER. Reads one JSON object a line from
standard input, `{"environment": {…}, "log": path}`, and answers with the pid of a new operator.
Ends, with everything that it started, when its input ends. Each operator is a process of its own
that runs `everloop.__main__.main()`, as in production.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import suppress
from typing import Any


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    import everloop.__main__ as operator  # its whole cost, once
    from everloop.api import crds

    for kind in crds.KINDS:
        crds.crd(kind)  # each start looks whether the cluster's are as new
    assert (operator.__file__ or "").startswith(sys.argv[1]), operator.__file__
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they leave no zombies
    children: list[int] = []  # pidfds: the kernel gives the pids of those that ended to others
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            for child in children:
                os.close(child)
            _become(operator, request)
        with suppress(ProcessLookupError):  # it has ended already
            children = [*_living(children), os.pidfd_open(pid)]
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for child in _living(children):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(child, signal.SIGKILL)


def _living(children: list[int]) -> list[int]:
    """Those that have not ended; a pidfd is readable from then on, and is closed here."""
    poll = select.poll()
    for child in children:
        poll.register(child, select.POLLIN)
    ended = {child for child, _ in poll.poll(0)}
    for child in ended:
        os.close(child)
    return [child for child in children if child not in ended]


def _become(operator: Any, request: dict[str, Any]) -> None:
    """The child: its output goes to the log, and it has no input."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(request["environment"])
    code = 1
    try:
        operator.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
