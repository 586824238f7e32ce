from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterError, ParameterTypeError
from flatcausal.metrics import effect_spearman, ndcg
from tests.reference import recovery as twin

FEW = st.sampled_from([0.0, 0.5, 1.0, 2.0])


@st.composite
def cases(draw, n_min=2, n_max=5):
    n = draw(st.integers(n_min, n_max))
    values = draw(st.lists(FEW, min_size=n, max_size=n))
    effects = draw(st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.0, 1.0, 3.0]), min_size=n, max_size=n))
    return values, effects


@given(cases().filter(lambda case: any(case[1])), st.integers(1, 6))
def test_ndcg_equals_the_mean_over_every_order_of_ties(case, k):
    values, effects = case
    assert ndcg(values, effects, k) == pytest.approx(twin.ndcg(values, effects, k))
    assert ndcg(values, effects) == pytest.approx(twin.ndcg(values, effects, len(values)))


@given(cases(n_max=10))
def test_spearman_equals_the_definition(case):
    values, effects = case
    sizes = [abs(effect) for effect in effects]
    if len(set(values)) == 1 or len(set(sizes)) == 1:
        assert math.isnan(effect_spearman(values, effects))
    else:
        found = effect_spearman(values, effects)
        assert found == pytest.approx(twin.rank_correlation(values, sizes))
        assert found == pytest.approx(spearmanr(values, sizes).statistic)


@given(cases(n_min=3, n_max=10), st.randoms(use_true_random=False))
def test_neither_depends_on_the_order_of_columns_or_on_scales(case, random):
    values, effects = map(np.array, case)
    order = random.sample(range(len(values)), len(values))
    for metric in (ndcg, effect_spearman):
        before = metric(values, effects)
        assert metric(values[order], effects[order]) == pytest.approx(before, nan_ok=True)
        assert metric(np.exp(values) * 3, effects * -1e-3) == pytest.approx(before, nan_ok=True)


def test_ranking_by_the_effects_themselves_is_perfect():
    effects = np.array([0.1, -3.0, 0.0, 2.0])
    assert ndcg(np.abs(effects), effects) == pytest.approx(1.0)
    assert effect_spearman(np.abs(effects), effects) == 1.0
    assert effect_spearman(-np.abs(effects), effects) == -1.0


def test_among_restricts_the_comparison():
    values, effects = [1.0, 2.0, 9.0, 0.0], [5.0, 6.0, 0.0, 0.0]
    assert effect_spearman(values, effects, [1, 1, 0, 0]) == 1.0
    assert effect_spearman(values, effects) < 1.0
    with pytest.raises(FeatureAlignmentError, match="among has 1 entries"):
        effect_spearman(values, effects, [1])


def test_signed_importances():
    for metric in (ndcg, effect_spearman):
        assert metric([-3.0, 1.0], [2.0, 0.0], signed=True) > metric([-3.0, 1.0], [2.0, 0.0])


def test_extreme_effects_neither_overflow_nor_vanish():
    for size in (1e308, 1e-320):
        assert ndcg([3, 2, 1], [size, size / 2, 0]) == pytest.approx(1.0)


BAD = [
    ([1, 2], [1, 2, 3], FeatureAlignmentError, "effects has 3 entries but importances have 2"),
    ([1, 2], [1, math.nan], DataError, "effects must be finite, got nan at position 1"),
    ([1, math.inf], [1, 2], DataError, "importances must be finite"),
    ([1, 2], ["a", "b"], ParameterTypeError, "effects must be an array of numbers"),
    ([1, 2], [[1, 2], [3]], ParameterTypeError, "effects must be an array of numbers"),
]


@pytest.mark.parametrize("metric", [ndcg, effect_spearman])
@pytest.mark.parametrize(("importances", "effects", "error", "fragment"), BAD)
def test_bad_input(metric, importances, effects, error, fragment):
    with pytest.raises(error, match=fragment):
        metric(importances, effects)


def test_bad_k():
    with pytest.raises(ParameterError, match="k must be at least 1"):
        ndcg([1, 2], [1, 2], 0)
