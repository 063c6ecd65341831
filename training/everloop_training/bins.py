"""Bins of a column: what the reference looks like, and the number of each value's bin.

The model server counts live rows into the same bins (everloop_server.profile reads what
`Bins.to_dict` writes); a property test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everloop.contract import BIN_MISSING, BIN_OTHER

QUANTILES: Final = np.linspace(0.1, 0.9, 9)
LOWEST: Final = np.finfo(np.float64).min
MAX_CATEGORIES: Final = 50  # further ones share a bin: each bin is two series a version
MAX_CATEGORY_LENGTH: Final = 128  # of a label's value

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """Bins of one column: inner edges (numeric) or categories."""

    name: str
    labels: tuple[str, ...]
    edges: NDArray[np.float64] | None = None
    categories: tuple[str, ...] | None = None

    def codes(self, column: pd.Series) -> Codes:
        """Number of each value's bin."""
        if self.edges is not None:
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            codes = np.searchsorted(self.edges, values, side="left")
            codes[np.isnan(values)] = len(self.labels) - 1
            return codes.astype(np.int64)
        codes = pd.Index(self.categories or (), dtype=object).get_indexer(
            pd.Index(texts(column), dtype=object)
        )
        codes[codes < 0] = len(self.labels) - 2
        codes[column.isna().to_numpy()] = len(self.labels) - 1
        return codes.astype(np.int64)

    def to_dict(self, fractions: NDArray[np.float64]) -> dict[str, Any]:
        """The profile's entry."""
        kind: dict[str, Any] = (
            {"kind": "categorical", "categories": list(self.categories or ())}
            if self.edges is None
            else {"kind": "numeric", "edges": [float(edge) for edge in self.edges]}
        )
        return {
            "name": self.name,
            **kind,
            "bins": list(self.labels),
            "fractions": [float(fraction) for fraction in fractions],
        }


def numeric_bins(name: str, column: pd.Series) -> Bins:
    """Deciles as (a, b], and a bin each for what is below and above all of the reference.

    The two outer bins are empty in the reference. Without them PSI saturates: a window that is
    wholly in the tenth decile looks like one that is far beyond it, so a cold day of the reference
    would hide a summer.
    """
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    # JSON has no infinity: such a value lies in an outer bin, and never makes an edge.
    values = values[np.isfinite(values)]
    edges = np.empty(0)
    if len(values):
        below, above = np.nextafter(values.min(), LOWEST), values.max()
        # values that occur, so that whole numbers have whole edges
        deciles = np.quantile(values, QUANTILES, method="inverted_cdf")
        edges = np.unique([below, *deciles, above])
    labels = (*(str(i) for i in range(len(edges) + 1)), BIN_MISSING)
    return Bins(name, labels, edges=edges)


def categorical_bins(name: str, column: pd.Series) -> Bins:
    """The most frequent categories, then all others, then missing."""
    counts = pd.Series(texts(column)[~column.isna().to_numpy()], dtype=object).value_counts()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    categories = tuple(
        str(category)
        for category, _ in ordered[:MAX_CATEGORIES]
        if len(str(category)) <= MAX_CATEGORY_LENGTH
    )
    labels = (*(category_label(category) for category in categories), BIN_OTHER, BIN_MISSING)
    return Bins(name, labels, categories=categories)


def category_label(category: str) -> str:
    """A category as a label's value: never empty, and never one that has a meaning of its own.

    >>> [category_label(text) for text in ("AA", "", "other", "=x")]
    ['AA', '=', '=other', '==x']
    """
    reserved = category in ("", BIN_OTHER, BIN_MISSING) or category.startswith("=")
    return f"={category}" if reserved else category


def texts(column: pd.Series) -> NDArray[Any]:
    """Values as texts: True is `true`, 3 is `3`; missing ones as they are."""
    known = ~column.isna().to_numpy()
    values: NDArray[Any] = column.astype(object).to_numpy(copy=True)
    values[known] = [
        ("true" if value else "false") if isinstance(value, (bool, np.bool_)) else str(value)
        for value in values[known]
    ]
    return values
