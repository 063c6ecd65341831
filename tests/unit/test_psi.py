"""PSI and its bound against exact values and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from everloop.statistics import psi


def test_psi_of_equal_shares_is_zero() -> None:
    assert psi.psi([10, 20, 30], [10, 20, 30]) == pytest.approx(0)


def test_psi_of_a_known_shift() -> None:
    # large counts, so that smoothing does not matter: (0.6-0.5)·ln(0.6/0.5) + (0.4-0.5)·ln(0.4/0.5)
    assert psi.psi([600_000, 400_000], [500_000, 500_000]) == pytest.approx(0.0405465, abs=1e-5)


def test_empty_bins_are_finite() -> None:
    assert 1 < psi.psi([0, 0, 300], [1000, 1000, 1000]) < 10


@pytest.mark.parametrize("columns", [1, 5, 13, 100])
@pytest.mark.parametrize(
    ("bins", "low", "high"), [(2, 0.99, 1.08), (5, 1.0, 1.03), (13, 1.0, 1.01)]
)
def test_the_closed_form_is_close_to_the_quantile(
    bins: int, low: float, high: float, columns: int
) -> None:
    exact = float(chi2.isf(psi.ALPHA / columns, bins - 1))
    assert low < psi.critical_value(bins, columns) / exact < high


@pytest.mark.parametrize(
    ("bins", "requests", "reference", "columns"),
    [(13, 5000, 55_000, 1), (13, 300, 55_000, 13), (20, 500, 55_000, 10), (4, 500, 2_000, 1)],
)
def test_sampling_alone_rarely_exceeds_the_bound(
    bins: int, requests: int, reference: int, columns: int
) -> None:
    random = np.random.default_rng(42)
    shares = random.dirichlet(np.full(bins, 3.0))
    bound = psi.sampling_bound(bins, columns, requests, reference)
    trials = 20_000
    now = _shares(random.multinomial(requests, shares, trials))
    then = _shares(random.multinomial(reference, shares, trials))
    exceeded = float((((now - then) * np.log(now / then)).sum(axis=1) > bound).mean())
    wanted = psi.ALPHA / columns
    # three times: the tail of PSI is heavier than that of chi-square when bins get few requests
    assert exceeded < 3 * wanted + 3 * np.sqrt(wanted / trials)


def test_a_shift_that_matters_exceeds_the_bound() -> None:
    random = np.random.default_rng(7)
    reference = random.multinomial(50_000, [0.25, 0.25, 0.25, 0.25]).tolist()
    shifted = random.multinomial(500, [0.4, 0.3, 0.2, 0.1]).tolist()
    assert psi.psi(shifted, reference) > psi.sampling_bound(4, 13, 500, 50_000)


def _shares(counts: np.ndarray) -> np.ndarray:
    total: np.ndarray = counts.sum(axis=1, keepdims=True) + 0.5 * counts.shape[1]
    smoothed: np.ndarray = (counts + 0.5) / total
    return smoothed
