from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier

from flatcausal.exceptions import DataError, ParameterError
from flatcausal.metrics import invariance_gap
from tests.reference import robustness as twin

ZERO = DummyRegressor(strategy="constant", constant=0.0).fit([[0.0]], [0.0])


def environments(groups):
    return [(np.zeros((len(group), 1)), np.array(group, float)) for group in groups]


group = st.lists(st.integers(-5, 5), min_size=2, max_size=6).filter(lambda g: len(set(g)) > 1)
groups = st.lists(group, min_size=2, max_size=5)


@given(groups)
def test_equals_the_definition(groups):
    gap = invariance_gap(ZERO, environments(groups))
    assert gap == pytest.approx(twin.invariance_gap(groups))
    assert gap >= 0.0


@given(groups, st.floats(0.01, 100.0))
def test_neither_unit_nor_order_of_environments_matters(groups, scale):
    gap = invariance_gap(ZERO, environments(groups))
    scaled = [[scale * residual for residual in group] for group in groups[::-1]]
    assert invariance_gap(ZERO, environments(scaled)) == pytest.approx(gap)


def test_causes_are_invariant_where_effects_are_not():
    rng = np.random.default_rng(0)

    def draw(shift, n=20_000):
        cause = rng.normal(size=n) + shift
        y = cause + rng.normal(size=n)
        return np.column_stack([cause, y + shift + rng.normal(size=n)]), y

    home, far = draw(0.0), draw(2.0)
    on_cause = LinearRegression().fit(home[0][:, :1], home[1])
    on_both = LinearRegression().fit(*home)
    causal = invariance_gap(on_cause, [(X[:, :1], y) for X, y in (home, far)])
    assert causal < 0.06
    assert invariance_gap(on_both, {"home": home, "far": far}) > 10 * causal


def test_classifiers_of_two_classes():
    X, y = np.zeros((6, 1)), np.array(["a", "b", "b", "a", "a", "b"])
    even = DummyClassifier(strategy="prior").fit(X, y)
    assert invariance_gap(even, [(X, y), (X, y[::-1])]) == 0.0
    far = np.array(["a", "b", "b", "b", "b", "b"])
    residuals = [[float(label == "b") - 0.5 for label in labels] for labels in (y, far)]
    assert invariance_gap(even, [(X, y), (X, far)]) == pytest.approx(twin.invariance_gap(residuals))
    three = LogisticRegression().fit(np.arange(6.0)[:, None], [0, 1, 2, 0, 1, 2])
    for fitted in (three, RidgeClassifier().fit(X + np.arange(6)[:, None], y)):
        with pytest.raises(ParameterError, match="needs two classes and predict_proba"):
            invariance_gap(fitted, [(X, y), (X, y)])


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([[0, 0], [0, 0]], 0.0),
        ([[1, 1], [1, 1]], math.inf),
        ([[0, 0], [0, 1]], math.inf),
        ([[-1, 1], [1, -1]], 0.0),
        ([[0.1 + 0.2] * 7, [-0.3, 0.3]], math.inf),
    ],
)
def test_constant_residuals(groups, expected):
    assert invariance_gap(ZERO, environments(groups)) == expected


def test_bad_input():
    with pytest.raises(DataError, match="at least 2, got 1"):
        invariance_gap(ZERO, environments([[0, 1]]))
    with pytest.raises(NotFittedError):
        invariance_gap(LinearRegression(), environments([[0, 1], [0, 1]]))
    diverged = DummyRegressor().fit([[0.0]], [0.0])
    diverged.constant_ = np.array([[np.nan]])
    with pytest.raises(DataError, match="not finite in environment '0'"):
        invariance_gap(diverged, environments([[0, 1], [0, 1]]))
