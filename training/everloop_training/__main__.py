"""`python -m everloop_training fetch|package`: first and last container of a training pod."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from everloop_training.errors import RunError, write_termination
from everloop_training.fetch import fetch
from everloop_training.layout import Layout
from everloop_training.package import package

log = logging.getLogger("everloop")
EXIT_FAILURE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="everloop_training")
    parser.add_argument("phase", choices=("fetch", "package"))
    parser.add_argument("--root", type=Path, default=Path("/"), help="all paths are below it")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout
    )
    logging.getLogger("aiobotocore").setLevel(logging.WARNING)  # says where credentials came from
    signal.signal(signal.SIGTERM, _stop)
    layout = Layout(options.root)
    try:
        if options.phase == "fetch":
            fetch(layout)
        else:
            package(layout)
    except RunError as error:
        log.error("%s: %s", error.reason, error)
        write_termination(layout.termination_log, error, EXIT_FAILURE)
        return EXIT_FAILURE
    return 0


def _stop(number: int, _frame: FrameType | None) -> None:
    """A container's first process ignores SIGTERM unless it says otherwise."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
