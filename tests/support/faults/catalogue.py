"""All scenarios: whoever writes another puts it here, and it is disturbed like the rest."""

from __future__ import annotations

from previous import is_known

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
from faults.upgrade import UPGRADE

# Where there is no history, as in a tree without git, nothing is known of the release before.
UPGRADES = (UPGRADE,) if is_known() else ()
SCENARIOS = (
    *(RUN, RETRY, EXPERIMENT, PROMOTION, REJECTION, ALERT, ALERT_IN_VAIN),
    *DELETIONS,
    *UPGRADES,
)
