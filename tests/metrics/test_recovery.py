from __future__ import annotations

import math
import warnings
from functools import partial
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning

from flatcausal.datasets import FeatureRoles
from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterTypeError
from flatcausal.metrics import (
    ap_lift,
    auroc,
    average_precision,
    causal_mass,
    effect_spearman,
    mass_lift,
    ndcg,
    precision_at_k,
    rbo,
    recall_at_k,
    role_mass,
)
from tests.reference import recovery as twin

METRICS = [auroc, average_precision, ap_lift, causal_mass, mass_lift, precision_at_k, recall_at_k]
RANKINGS = [auroc, average_precision, ap_lift, precision_at_k, recall_at_k]


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
        mass = twin.causal_mass(values, truth)
        assert causal_mass(values, truth) == pytest.approx(mass)
        assert mass_lift(values, truth) == pytest.approx(mass * len(truth) / sum(truth))


@given(scored_truths(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_column_order_does_not_matter(case, random):
    values, truth = map(np.array, case)
    order = list(range(len(values)))
    random.shuffle(order)
    for metric in METRICS:
        before, after = metric(values, truth), metric(values[order], truth[order])
        assert after == pytest.approx(before, nan_ok=True)


@given(scored_truths(), st.floats(1e-3, 1e3))
def test_rankings_depend_on_order_only_and_masses_on_ratios(case, scale):
    values, truth = case
    for metric in RANKINGS:
        assert metric(np.exp(values), truth) == pytest.approx(metric(values, truth))
    for metric in (causal_mass, mass_lift):
        scaled = metric(scale * np.array(values), truth)
        assert scaled == pytest.approx(metric(values, truth), nan_ok=True)


@given(scored_truths())
def test_ranges(case):
    values, truth = case
    for metric in (auroc, average_precision, precision_at_k, recall_at_k):
        assert 0.0 <= metric(values, truth) <= 1.0
    assert ap_lift(values, truth) <= 1.0
    if max(values) > 0:
        assert 0.0 <= causal_mass(values, truth) <= 1.0
        assert 0.0 <= mass_lift(values, truth) <= len(truth) / sum(truth) * (1 + 1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_perfect_importance_scores_one(metric):
    truth = [True, False, True, False, False]
    assert metric([0.7, 0, 0.3, 0, 0], truth) == (2.5 if metric is mass_lift else 1.0)


def test_chance_level():
    rng = np.random.default_rng(0)
    truth = np.arange(20) < 5
    rankings = rng.random((300, 20))
    draws = [[metric(ranking, truth) for metric in METRICS] for ranking in rankings]
    area, precision, lift, mass, mass_by_chance, found, recall = np.mean(draws, axis=0)
    assert area == pytest.approx(0.5, abs=0.04)
    assert mass == pytest.approx(0.25, abs=0.02)
    assert found == recall == pytest.approx(0.25, abs=0.02)
    assert mass_by_chance == pytest.approx(1.0, abs=0.05)
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


SOME, NONE, ALL, ZEROS = [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, -1]
VALUES = [3.0, 2.0, 1.0]

DEGENERATE = [
    (average_precision, VALUES, NONE, math.nan),
    (average_precision, VALUES, ALL, 1.0),
    (ap_lift, VALUES, NONE, math.nan),
    (ap_lift, VALUES, ALL, math.nan),
    (precision_at_k, VALUES, NONE, math.nan),
    (partial(precision_at_k, k=2), VALUES, NONE, 0.0),
    (precision_at_k, VALUES, ALL, 1.0),
    (recall_at_k, VALUES, NONE, math.nan),
    (partial(recall_at_k, k=2), VALUES, NONE, math.nan),
    (recall_at_k, VALUES, ALL, 1.0),
    (causal_mass, VALUES, NONE, 0.0),
    (causal_mass, VALUES, ALL, 1.0),
    (causal_mass, ZEROS, SOME, math.nan),
    (causal_mass, ZEROS, NONE, math.nan),
    (mass_lift, VALUES, NONE, math.nan),
    (mass_lift, VALUES, ALL, 1.0),
    (mass_lift, ZEROS, SOME, math.nan),
    (ndcg, VALUES, [0.0, 0.0, 0.0], math.nan),
    (ndcg, [1.0], [2.0], math.nan),
    (ndcg, [1.0, 1.0], [2.0, 2.0], 1.0),
    (effect_spearman, VALUES, [1.0, -1.0, 1.0], math.nan),
    (effect_spearman, [1.0, 1.0, 1.0], VALUES, math.nan),
    (effect_spearman, [1.0], [2.0], math.nan),
    (partial(effect_spearman, among=NONE), VALUES, VALUES, math.nan),
    (partial(effect_spearman, among=SOME), VALUES, VALUES, math.nan),
    (rbo, [1.0], [2.0], 1.0),
    (rbo, [1.0, 1.0], [1.0, 1.0], 0.9**2 + 0.1 / 0.9 * (0.9 / 2 + 0.9**2)),
]


@pytest.mark.parametrize(("metric", "importances", "truth", "expected"), DEGENERATE)
def test_degenerate_cases_are_silent(metric, importances, truth, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metric(importances, truth) == pytest.approx(expected, nan_ok=True)


ROLES = FeatureRoles.from_graph(nx.DiGraph([("a", "b"), ("b", "y"), ("y", "c")]), "y", ["c", "a", "b", "d"])


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=4, max_size=4))
def test_role_masses_are_masses_that_sum_to_one(values):
    masses = role_mass(values, ROLES)
    assert list(masses) == ["child", "ancestor", "parent", "distractor"]
    if max(values) <= 0:
        assert np.isnan(list(masses.values())).all()
        return
    assert sum(masses.values()) == pytest.approx(1.0)
    assert masses["parent"] == pytest.approx(twin.causal_mass(values, ROLES.mask("parents")))
    assert masses["distractor"] == pytest.approx(twin.causal_mass(values, ROLES.mask("distractors")))


@pytest.mark.parametrize(
    ("importances", "roles", "error", "fragment"),
    [
        ([1, 2, 3], ROLES, FeatureAlignmentError, "3 entries but roles name 4 features"),
        ([1, 2], np.array([True, False]), ParameterTypeError, "such as FeatureRoles, got ndarray"),
        ([1, 2, 3, math.nan], ROLES, DataError, "nan at position 3"),
    ],
)
def test_role_mass_of_bad_input(importances, roles, error, fragment):
    with pytest.raises(error, match=fragment):
        role_mass(importances, roles)


def test_huge_importances_do_not_overflow():
    assert causal_mass([1e308, 1e308, 1e308], [1, 0, 0]) == pytest.approx(1 / 3)
    assert mass_lift([1e308, 1e308, 1e308], [1, 0, 0]) == pytest.approx(1.0)
    assert role_mass([1e308] * 4, ROLES)["parent"] == pytest.approx(1 / 4)


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
