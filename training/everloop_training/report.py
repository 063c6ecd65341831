"""Hands the report to the operator, again and again until it says that it is kept."""

from __future__ import annotations

import json
import logging
import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Final

from everloop_training.errors import REPORT_REJECTED, RunError
from everloop_training.layout import Layout

log = logging.getLogger("everloop")
TIMEOUT: Final = 15.0  # seconds for one try
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
# 401: the token expired or the operator has not seen the pod yet. 429 and 5xx: busy, or a standby.
RETRIED: Final = (401, 408, 429)
CONFLICT: Final = 409


def deliver(
    layout: Layout, url: str, body: bytes, sleep: Callable[[float], None] = time.sleep
) -> None:
    """POST `body` until it is acknowledged; the Job's deadline bounds the attempts.

    Token and CA are read again for each try, since both are rotated under a waiting pod. Raises
    RunError(ReportRejected) when the operator says that it will never take this report.
    """
    pause = FIRST_PAUSE
    while True:
        problem = _post(layout, url, body)
        if problem is None:
            log.info("report acknowledged")
            return
        log.warning("report not acknowledged yet: %s", problem)
        sleep(pause * random.uniform(0.5, 1.0))  # jitter, not a secret
        pause = min(pause * 2, LONGEST_PAUSE)


def _post(layout: Layout, url: str, body: bytes) -> str | None:
    """One try: None when acknowledged, else why not (and it is worth another try)."""
    try:
        token = layout.token.read_text().strip()
        context = ssl.create_default_context(cafile=str(layout.ca))
        request = urllib.request.Request(
            url,
            data=body,
            method="POST",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # the operator is in the cluster, proxies are outside
            urllib.request.HTTPSHandler(context=context),
        )
        with opener.open(request, timeout=TIMEOUT) as response:
            answer = json.loads(response.read() or b"{}")
        return None if answer.get("acknowledged") else f"answered {answer}"
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode(errors="replace").strip()
        if error.code == CONFLICT:
            raise RunError(
                REPORT_REJECTED,
                f"the operator already keeps another report of this run: {said}; "
                "start a new TrainingRun",
            ) from error
        if 400 <= error.code < 500 and error.code not in RETRIED:
            raise RunError(
                REPORT_REJECTED, f"the operator refused the report ({error.code}): {said}"
            ) from error
        return f"{error.code} {said[:300]}"
    except (OSError, ValueError) as error:  # refused, reset, timeout, TLS while the CA rotates
        return f"{type(error).__name__}: {error}"
