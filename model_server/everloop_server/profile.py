"""The profile of a ModelVersion: reference bins, and live rows counted into them with numpy.

Written by the runner (everloop_training.profile); read here. Numeric values fall into (a, b] of the
inner edges; what is missing, or a category the reference has not seen, has a bin of its own.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from everloop_server.errors import ModelNotLoadableError
from everloop_server.signature import Array

SCHEMA: Final = 1


@dataclass(frozen=True)
class Feature(ABC):
    """One monitored column: what its bins are and how full they are in the reference."""

    name: str
    bins: tuple[str, ...]
    fractions: tuple[float, ...]
    calibration: dict[str, float]  # by window: how far the reference moves by itself, PSI

    def counts(self, values: Array) -> Array:
        """Rows per bin, in the order of `bins`; they sum to the number of values."""
        return np.bincount(self.codes(values), minlength=len(self.bins))

    @abstractmethod
    def codes(self, values: Array) -> Array:
        """Number of each value's bin."""


@dataclass(frozen=True)
class Numeric(Feature):
    """Bins by inner edges, then `missing`."""

    edges: Array

    def codes(self, values: Array) -> Array:
        numbers = np.asarray(values, dtype=np.float64)
        codes = np.searchsorted(self.edges, numbers, side="left")
        codes[np.isnan(numbers)] = len(self.bins) - 1
        return codes


@dataclass(frozen=True)
class Categorical(Feature):
    """One bin a category, then `other`, then `missing`."""

    categories: pd.Index[Any]

    def codes(self, values: Array) -> Array:
        texts = as_texts(values)
        codes = self.categories.get_indexer(pd.Index(texts, dtype=object))
        unknown = codes < 0
        if unknown.any():
            codes[unknown] = len(self.categories)
            codes[unknown & pd.isna(texts)] = len(self.categories) + 1
        return codes


@dataclass(frozen=True)
class Profile:
    """All monitored columns of a version."""

    rows: int
    held_out_rows: int
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]


def as_texts(values: Array) -> Array:
    """Categories as texts: True is `true`, 3 is `3`; missing stays missing."""
    if values.dtype.kind == "b":
        return np.where(values, "true", "false").astype(object)
    texts = np.array(values, dtype=object)
    for i, value in enumerate(texts):
        if isinstance(value, (bool, np.bool_)):
            texts[i] = "true" if value else "false"
        elif not isinstance(value, str) and value == value and value is not None:  # noqa: PLR0124 (NaN)
            texts[i] = str(value)
    return texts


def parse(text: str | bytes) -> Profile:
    """Read a profile. Raises ModelNotLoadableError when it is not one this server understands."""
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}, this server reads {SCHEMA}")
        calibration = data.get("calibration") or {}
        return Profile(
            rows=int(data["rows"]),
            held_out_rows=int(data["heldOutRows"]),
            inputs=_features(data["inputs"], calibration.get("input") or {}),
            outputs=_features(data["outputs"], calibration.get("output") or {}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelNotLoadableError(
            f"the profile cannot be read ({type(error).__name__}: {error}); "
            "register the model with a runner of this version"
        ) from error


def _features(items: list[dict[str, Any]], calibration: dict[str, Any]) -> tuple[Feature, ...]:
    return tuple(_feature(item, calibration.get(item["name"]) or {}) for item in items)


def _feature(item: dict[str, Any], calibration: dict[str, float]) -> Feature:
    common = {
        "name": item["name"],
        "bins": tuple(item["bins"]),
        "fractions": tuple(float(value) for value in item["fractions"]),
        "calibration": {window: float(value) for window, value in calibration.items()},
    }
    feature: Feature
    if item["kind"] == "numeric":
        feature = Numeric(**common, edges=np.asarray(item["edges"], dtype=np.float64))
        expected = len(item["edges"]) + 2
    else:
        feature = Categorical(**common, categories=pd.Index(item["categories"], dtype=object))
        expected = len(item["categories"]) + 2
    if not len(feature.bins) == len(feature.fractions) == expected:
        raise ValueError(f"{item['name']}: {expected} bins expected, {len(feature.bins)} given")
    return feature
