from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from flatcausal.study._signed_rank import null_cdf, signed_rank
from tests.reference.signed_rank import interval_by_scan, null_cdf_by_enumeration, p_by_enumeration

# Small whole numbers bring ties and zeros; halves of sums of them are exact.
tied = hnp.arrays(np.float64, st.integers(1, 12), elements=st.integers(-4, 4).map(float))


@pytest.mark.parametrize("n", range(1, 11))
def test_null_distribution_equals_enumeration(n):
    np.testing.assert_array_equal(null_cdf(n), null_cdf_by_enumeration(n))


@pytest.mark.parametrize("n", [2, 5, 6, 8, 9])
def test_p_equals_enumeration_and_scipy_without_ties(n):
    rng = np.random.default_rng(n)
    for _ in range(10):
        d = rng.normal(0.5, 1.0, n)
        p = signed_rank(d).p
        assert p == p_by_enumeration(d)
        assert p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-12)


@pytest.mark.parametrize("n", [6, 7])
def test_interval_equals_a_scan_of_the_test(n):
    rng = np.random.default_rng(n)
    for _ in range(3):
        d = rng.normal(size=n)
        result = signed_rank(d)
        np.testing.assert_allclose((result.low, result.high), interval_by_scan(d, 0.05), rtol=1e-12)


@given(tied, st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
def test_interval_and_test_always_agree_ties_and_zeros_included(d, confidence):
    result = signed_rank(d, confidence)
    excludes_zero = result.low > 0 or result.high < 0
    assert excludes_zero == (result.p <= 1 - confidence)
    assert result.low <= result.estimate <= result.high


@given(tied)
def test_mirrored_differences_mirror_the_result(d):
    ahead, behind = signed_rank(d), signed_rank(-d)
    assert (ahead.p, ahead.rank_biserial) == (behind.p, -behind.rank_biserial)
    assert (ahead.low, ahead.high, ahead.estimate) == (-behind.high, -behind.low, -behind.estimate)


@given(tied)
def test_rank_biserial_is_the_signed_share_of_the_midranks(d):
    ranks = stats.rankdata(np.abs(d))
    expected = (ranks[d > 0].sum() - ranks[d < 0].sum()) / ranks.sum()
    assert signed_rank(d).rank_biserial == pytest.approx(expected, abs=1e-12)


def test_ties_are_conservative_against_the_randomised_test():
    # Any way to break ties is a valid exact test; ours may never reject where one of them does not.
    rng = np.random.default_rng(0)
    for _ in range(50):
        d = rng.integers(-2, 4, size=8).astype(float)
        broken = d + rng.uniform(-1e-6, 1e-6, size=8)
        assert signed_rank(d).p >= signed_rank(broken).p - 1e-12


def test_small_samples_say_nothing():
    for n in range(6):
        result = signed_rank(np.arange(1.0, n + 1))
        assert (result.low, result.high) == (-math.inf, math.inf)
        assert result.p > 0.05
    assert signed_rank(np.arange(1.0, 7)).low == 1.0
    assert signed_rank(np.zeros(8)).p == 1.0


@pytest.mark.parametrize("n", [6, 10])
def test_coverage_and_size_are_exact(n):
    # P(W_(k) <= centre <= W_(M+1-k)) = 1 - 2 P(T < k) for every continuous symmetric law.
    rng = np.random.default_rng(1)
    draws = 1500
    results = [signed_rank(d) for d in 3 + rng.standard_t(2, size=(draws, n))]
    covered = np.mean([r.low <= 3 <= r.high for r in results])
    cdf = null_cdf_by_enumeration(n)
    exact = 1 - 2 * cdf[2 * cdf <= 0.05].max()
    assert exact >= 0.95
    assert covered == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / draws))


def test_large_samples_approach_the_normal_law():
    n = 200
    mean, sd = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    at = int(mean - 1.96 * sd)
    assert null_cdf(n)[at] == pytest.approx(stats.norm.cdf((at + 0.5 - mean) / sd), rel=0.01)
    assert null_cdf(n)[-1] == pytest.approx(1.0, abs=1e-12)
