"""The operator process with the toy kind instead of ours."""

from __future__ import annotations

import asyncio
import sys

from toy import TOY

from everloop.__main__ import configure_logging
from everloop.handlers.engine_run import Operator
from everloop.settings import Settings


def main() -> None:
    settings = Settings.from_environment()
    configure_logging(settings.log_level)
    sys.exit(asyncio.run(Operator((TOY,), settings, outside=lambda _: None).run()))


if __name__ == "__main__":
    main()
