from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from flatcausal.exceptions import DataError, ParameterError
from flatcausal.metrics import selection_stability
from tests.reference import recovery as twin


@st.composite
def selections(draw):
    n_runs, n_features = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    row = st.lists(st.integers(0, 1), min_size=n_features, max_size=n_features)
    return draw(st.lists(row, min_size=n_runs, max_size=n_runs))


@given(selections())
def test_equals_the_definition(runs):
    result = selection_stability(runs)
    if sum(map(sum, runs)) in (0, len(runs) * len(runs[0])):
        assert math.isnan(result.value)
        assert math.isnan(result.low)
        assert math.isnan(result.high)
        return
    assert result.value == pytest.approx(twin.stability(runs))
    assert result.value <= 1.0 + 1e-12
    assert result.low <= result.value <= result.high


@given(selections(), st.randoms(use_true_random=False))
def test_neither_order_matters(runs, random):
    Z = np.array(runs)
    rows = random.sample(range(len(Z)), len(Z))
    columns = random.sample(range(Z.shape[1]), Z.shape[1])
    before, after = selection_stability(Z), selection_stability(Z[rows][:, columns])
    assert (after.value, after.low) == pytest.approx((before.value, before.low), nan_ok=True)


@pytest.mark.parametrize("rates", [np.linspace(0.1, 0.9, 8), np.array([0.9, 0.9, 0.2, 0.2, 0.1, 0.1])])
def test_the_variance_is_the_jackknifes(rates):
    rng = np.random.default_rng(0)
    Z = rng.random((200, len(rates))) < rates
    result = selection_stability(Z)
    variance = ((result.high - result.value) / norm.ppf(0.975)) ** 2
    assert variance == pytest.approx(twin.jackknife_variance(Z.astype(int).tolist()), rel=0.03)


def test_the_interval_covers():
    rng = np.random.default_rng(1)
    rates = np.array([0.9, 0.8, 0.5, 0.2, 0.1, 0.1])
    share = rates.mean()
    truth = 1 - np.mean(rates * (1 - rates)) / (share * (1 - share))
    results = [selection_stability(rng.random((100, 6)) < rates, confidence=0.9) for _ in range(1500)]
    covered = np.mean([result.low <= truth <= result.high for result in results])
    assert covered == pytest.approx(0.9, abs=0.03)


def test_known_values():
    same = selection_stability([[1, 1, 0, 0]] * 4)
    assert (same.value, same.low, same.high, same.n_runs) == (1.0, 1.0, 1.0, 4)
    # Any two disjoint halves are as unstable as two runs can be.
    assert selection_stability([[1, 1, 0, 0], [0, 0, 1, 1]]).value == pytest.approx(-1.0)
    rng = np.random.default_rng(0)
    chance = selection_stability(rng.permuted(np.tile(np.arange(20) < 5, (500, 1)), axis=1))
    assert chance.low < 0 < chance.high


@pytest.mark.parametrize(
    ("selected", "fragment"),
    [
        ([[1, 0, 1]], "at least 2 runs, got 1"),
        ([1, 0, 1], "must have shape"),
        (np.empty((2, 0)), "must have shape"),
        ([[0, 2], [1, 0]], "only True and False"),
        ([[0, math.nan], [1, 0]], "only True and False"),
        ([[0, 1], [1]], "unequal length"),
    ],
)
def test_bad_selections(selected, fragment):
    with pytest.raises(DataError, match=fragment):
        selection_stability(selected)


def test_bad_confidence():
    with pytest.raises(ParameterError, match="confidence must be"):
        selection_stability([[1, 0], [0, 1]], confidence=1.0)
