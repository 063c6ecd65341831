"""All scenarios: whoever writes another puts it here, and it is disturbed like the rest."""

from __future__ import annotations

from faults.deletions import DELETIONS
from faults.scenarios import (
    ALERT,
    ALERT_IN_VAIN,
    EXPERIMENT,
    PROMOTION,
    REJECTION,
    RETRY,
    RUN,
)

SCENARIOS = (RUN, RETRY, EXPERIMENT, PROMOTION, REJECTION, ALERT, ALERT_IN_VAIN, *DELETIONS)
