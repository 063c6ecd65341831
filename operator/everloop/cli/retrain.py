"""Ask a Monitor for a new TrainingRun now, with the champion's spec and the Monitor's overrides.

The Monitor's guards hold as for an alert: one run at a time, and none while a challenger is on
trial. `kubectl everloop status NAME` shows the run it makes, or why it refuses.
"""

from __future__ import annotations

import argparse
import uuid

from everloop import contract
from everloop.cli.client import Client, ClientError
from everloop.cli.output import say

NAME = "retrain"
HELP = "ask a Monitor for a new TrainingRun now"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The Monitor, the Deployment (mldep) it watches, or the model."""
    parser.add_argument("name", metavar="NAME", help="a Monitor, or the mldep it watches")


def run(client: Client, arguments: argparse.Namespace) -> int:
    """Annotate the Monitor with a new token: each token asks once."""
    monitor = find_monitor(client, arguments.name)
    client.annotate(
        "monitors", monitor, {contract.ANNOTATION_RETRAIN: f"cli-{uuid.uuid4().hex[:12]}"}
    )
    say(f"monitor/{monitor} asked to retrain; see `kubectl everloop status {arguments.name}`")
    return 0


def find_monitor(client: Client, name: str) -> str:
    """The Monitor of this name, or the only one that watches the Deployment of this name."""
    monitors = client.list("monitors")
    names = [item["metadata"]["name"] for item in monitors]
    if name in names:
        return name
    watching = [item["metadata"]["name"] for item in monitors if item["spec"]["deployment"] == name]
    if len(watching) == 1:
        return str(watching[0])
    if watching:
        raise ClientError(f"several Monitors watch {name}: name one of {', '.join(watching)}")
    known = f"; there are: {', '.join(names)}" if names else ""
    raise ClientError(
        f"namespace {client.namespace} has no Monitor {name}, and none that watches an mldep of "
        f"that name{known}"
    )
