"""Trials of an Experiment: TrainingRuns with the search's parameters over the template's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from everloop import contract
from everloop.api.experiment import Experiment
from everloop.manifests.meta import meta


def trial_name(experiment: str, number: int) -> str:
    """The name of a trial; the number is its identity, so creation is idempotent."""
    return contract.child_name(experiment, str(number), limit=52)


def trial_number(experiment: str, name: str) -> int | None:
    """The number in the name of an Experiment's trial; None if the name is not of one.

    >>> trial_number("search", "search-7")
    7
    >>> trial_number("search", "search-7-mine"), trial_number("search", "search-07")
    (None, None)
    """
    match = re.fullmatch(re.escape(experiment) + r"-(0|[1-9][0-9]{0,3})", name)
    return int(match[1]) if match else None


def build_trial(
    experiment: Experiment, number: int, parameters: Mapping[str, str]
) -> dict[str, Any]:
    """The TrainingRun of a trial; the engine makes the Experiment its controller."""
    name, namespace = experiment.metadata.name, experiment.metadata.namespace
    template = experiment.spec.template
    spec = template.to_dict()
    spec["parameters"] = {**template.parameters, **parameters}
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "TrainingRun",
        "metadata": meta(
            trial_name(name, number),
            namespace,
            contract.COMPONENT_TRIAL,
            labels={
                contract.LABEL_MODEL: experiment.spec.model_name,
                contract.LABEL_EXPERIMENT: name,
                contract.LABEL_TRIAL: str(number),
            },
        ),
        "spec": spec,
    }
