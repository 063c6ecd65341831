"""What a start cannot do without is asked for until it is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from everloop import errors

logger = logging.getLogger(__name__)
FIRST_PAUSE = 1.0  # seconds, then twice as long each time, up to
LONGEST_PAUSE = 4.0  # which an API server that is back waits for us at most


async def until_answered(call: Callable[[], Awaitable[None]]) -> None:
    """Try until the API server does it, and leave it alone for as long as it wants to be."""
    said, pause = "", FIRST_PAUSE
    while True:
        try:
            return await call()
        except errors.ApiError as error:
            if str(error) != said:
                said = str(error)
                logger.warning("starting: %s", said)
            await asyncio.sleep(max(pause, error.retry_after))
            pause = min(pause * 2, LONGEST_PAUSE)
