"""What the user sees: one line a step, with how long it took, and errors that say what to do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Something the user can act on; printed without a traceback."""


def say(text: str) -> None:
    """Print a line of progress; standard output is kept for what a program may read."""
    print(f"  {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print what is being done and, when it ends well, how long it took."""
    started = time.monotonic()
    say(f"{text} ...")
    yield
    say(f"{text}: {time.monotonic() - started:.1f} s")


def run(
    command: Sequence[object],
    *,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a command and return what it printed; raise with its last lines when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, check=False, input=stdin, env=env, cwd=cwd, text=True, capture_output=True
    )
    if done.returncode:
        tail = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-15:])
        raise UserError(f"`{' '.join(words)}` ended with {done.returncode}:\n{tail}")
    return done.stdout


def succeeds(command: Sequence[object], timeout: float = 20) -> bool:
    """Whether a command exists and ends with 0 in time."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def wait_for(what: str, ready: Callable[[], T | None], seconds: float, hint: str = "") -> T:
    """Ask `ready` until it answers with something true, for at most `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise UserError(f"{what}: not after {seconds:.0f} s. {hint}".strip())
        time.sleep(0.1)
