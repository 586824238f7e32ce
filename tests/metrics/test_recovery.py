from __future__ import annotations

import math
import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning

from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterTypeError
from flatcausal.metrics import ap_lift, auroc, average_precision, causal_mass
from tests.reference import recovery as twin

METRICS = [auroc, average_precision, ap_lift, causal_mass]


@st.composite
def scored_truths(draw):
    truth = draw(st.lists(st.booleans(), min_size=2, max_size=12).filter(lambda t: any(t) and not all(t)))
    few = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])  # few values, so that ties are common
    values = draw(st.lists(few, min_size=len(truth), max_size=len(truth)))
    return values, truth


@given(scored_truths())
@settings(max_examples=150, deadline=None)
def test_equals_the_definition(case):
    values, truth = case
    chance = twin.expected_average_precision(len(truth), sum(truth))
    precision = twin.average_precision(values, truth)
    assert auroc(values, truth) == pytest.approx(twin.auroc(values, truth))
    assert average_precision(values, truth) == pytest.approx(precision)
    assert ap_lift(values, truth) == pytest.approx((precision - chance) / (1 - chance))
    if max(values) > 0:
        assert causal_mass(values, truth) == pytest.approx(twin.causal_mass(values, truth))


@given(scored_truths(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_column_order_does_not_matter(case, random):
    values, truth = map(np.array, case)
    order = list(range(len(values)))
    random.shuffle(order)
    for metric in METRICS:
        before, after = metric(values, truth), metric(values[order], truth[order])
        assert after == pytest.approx(before, nan_ok=True)


@pytest.mark.parametrize("metric", METRICS)
def test_a_perfect_importance_scores_one(metric):
    truth = [True, False, True, False, False]
    assert metric([0.7, 0, 0.3, 0, 0], truth) == 1.0


def test_chance_level():
    rng = np.random.default_rng(0)
    truth = np.arange(20) < 5
    rankings = rng.random((300, 20))
    draws = [[metric(ranking, truth) for metric in METRICS] for ranking in rankings]
    area, precision, lift, mass = np.mean(draws, axis=0)
    assert area == pytest.approx(0.5, abs=0.04)
    assert mass == pytest.approx(0.25, abs=0.02)
    # AP of a random order lies above the prevalence.
    assert precision == pytest.approx(twin.expected_average_precision(20, 5), abs=0.02)
    assert lift == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize(("n_features", "n_true"), [(2, 1), (3, 1), (3, 2), (5, 2), (6, 1), (6, 3), (7, 6)])
def test_ap_lift_is_zero_on_average_over_all_orders(n_features, n_true):
    truths = [np.isin(np.arange(n_features), found) for found in combinations(range(n_features), n_true)]
    scores = np.arange(n_features, 0, -1)
    assert np.mean([ap_lift(scores, truth) for truth in truths]) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1]])
def test_auroc_without_both_classes_warns(truth):
    with pytest.warns(UndefinedMetricWarning, match="auroc is undefined"):
        assert math.isnan(auroc([1, 2, 3], truth))


def test_degenerate_cases_are_nan_and_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(average_precision([1, 2, 3], [0, 0, 0]))
        assert average_precision([1, 2, 3], [1, 1, 1]) == 1.0
        assert math.isnan(ap_lift([1, 2, 3], [0, 0, 0]))
        assert math.isnan(ap_lift([1, 2, 3], [1, 1, 1]))
        assert math.isnan(causal_mass([0, 0, -1], [1, 0, 1]))
        assert causal_mass([1, 2, 3], [0, 0, 0]) == 0.0


def test_huge_importances_do_not_overflow():
    assert causal_mass([1e308, 1e308, 1e308], [1, 0, 0]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", METRICS)
def test_signed_takes_magnitudes(metric):
    truth = [True, False, False]
    assert metric([-3.0, 1.0, 2.0], truth, signed=True) == metric([3.0, 1.0, 2.0], truth)
    assert metric([-3.0, 1.0, 2.0], truth) < metric([3.0, 1.0, 2.0], truth)


BAD = [
    ([1, math.nan, 2], [1, 0, 0], DataError, "nan at position 1"),
    ([1, 2, math.inf], [1, 0, 0], DataError, "inf at position 2"),
    ([1j, 2, 3], [1, 0, 0], ParameterTypeError, "complex"),
    (["a", "b", "c"], [1, 0, 0], ParameterTypeError, "numbers"),
    ([[1, 2, 3]], [1, 0, 0], DataError, "(1, 3)"),
    ([], [], DataError, "(0,)"),
    ([1, 2], [1, 0, 0], FeatureAlignmentError, "truth has 3 entries but importances have 2"),
    ([1, 2, 3], [[1, 0, 0]], DataError, "truth must have shape"),
    ([1, 2, 3], [0, 1, 2], DataError, "only True and False"),
    ([1, 2, 3], [0, 1, math.nan], DataError, "only True and False"),
]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("importances", "truth", "error", "fragment"), BAD)
def test_bad_input(metric, importances, truth, error, fragment):
    with pytest.raises(error) as caught:
        metric(importances, truth)
    assert fragment in str(caught.value)


def test_errors_are_value_errors():
    with pytest.raises(ValueError, match="finite"):
        auroc([1, math.nan], [1, 0])
