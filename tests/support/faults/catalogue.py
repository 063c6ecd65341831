"""All scenarios: whoever writes another puts it here, and it is disturbed like the rest."""

from __future__ import annotations

from faults.deletions import DELETIONS
from faults.scenarios import ALERT, EXPERIMENT, PROMOTION, REJECTION, RUN

SCENARIOS = (RUN, EXPERIMENT, PROMOTION, REJECTION, ALERT, *DELETIONS)
