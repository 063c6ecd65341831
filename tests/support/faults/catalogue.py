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

# Where there is no history, as in a tree without git, nothing is known of the release before;
# tests/faults/test_reach.py says so.
UPGRADES = (UPGRADE,) if is_known() else ()
SCENARIOS = (
    *(RUN, RETRY, EXPERIMENT, PROMOTION, REJECTION, ALERT, ALERT_IN_VAIN),
    *DELETIONS.values(),
    *UPGRADES,
)

# Writes (verb, resource) that the chart allows and no scenario makes, and the test of each. Most
# put right what somebody changed by hand; each more in a scenario would be three more trials.
RARE = "tests/api/test_rare_writes.py"
HANDS = "tests/api/test_kinds.py::test_every_applied_child_survives_a_hand"
POLICIES = f"{RARE}::test_network_policies_are_put_right_and_taken_back"
RULES = f"{RARE}::test_rules_change_their_kind_and_go_with_the_champion"
UNREACHED = {
    ("delete", "configmaps"): RULES,
    ("delete", "networkpolicies.networking.k8s.io"): POLICIES,
    ("delete", "prometheusrules.monitoring.coreos.com"): RULES,
    ("patch", "networkpolicies.networking.k8s.io"): POLICIES,
    ("patch", "poddisruptionbudgets.policy"): (
        f"{RARE}::test_replicas_have_a_budget_while_there_are_several"
    ),
    ("patch", "podmonitors.monitoring.coreos.com"): HANDS,
    ("patch", "prometheusrules.monitoring.coreos.com"): HANDS,
    ("patch", "secrets"): f"{RARE}::test_an_old_authority_gets_a_successor",
    ("patch", "services"): HANDS,
    ("update", "controllerrevisions.apps"): (
        "tests/api/test_engine_labels.py::test_history_keeps_its_label"
    ),
}
