from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterError
from flatcausal.metrics import rbo
from tests.reference import recovery as twin

FEW = st.sampled_from([0.0, 0.5, 1.0])


@st.composite
def pairs(draw, n_max=5):
    n = draw(st.integers(1, n_max))
    left, right = (draw(st.lists(FEW, min_size=n, max_size=n)) for _ in range(2))
    return left, right


@given(pairs(n_max=4), st.sampled_from([0.3, 0.9]), st.integers(1, 5))
def test_equals_the_mean_over_every_pair_of_orders(pair, p, depth):
    left, right = pair
    expected = twin.rbo(left, right, p, min(depth, len(left)))
    assert rbo(left, right, p=p, depth=depth) == pytest.approx(expected)


@given(pairs(n_max=12), st.floats(0.05, 0.99))
def test_symmetric_and_within_its_range(pair, p):
    left, right = map(np.array, pair)
    assert rbo(left, right, p=p) == pytest.approx(rbo(right, left, p=p))
    assert 0.0 <= rbo(left, right, p=p) <= 1.0
    assert rbo(np.exp(left), 2 * right, p=p) == pytest.approx(rbo(left, right, p=p))


@given(st.permutations(range(8)), st.floats(0.05, 0.99))
def test_the_same_order_scores_one(order, p):
    assert rbo(order, order, p=p) == pytest.approx(1.0)


def test_known_values():
    reversed_order = rbo(np.arange(10), -np.arange(10))
    assert reversed_order == pytest.approx(0.512, abs=5e-4)
    # Disjoint tops share nothing.
    assert rbo([4, 3, 2, 1], [1, 2, 3, 4], depth=2) == 0.0
    # With a p near 0 only the first place counts.
    assert rbo([3, 2, 1], [3, 1, 2], p=1e-9) == pytest.approx(1.0)


def test_a_tie_is_no_order():
    constant = np.ones(6)
    rng = np.random.default_rng(0)
    breaks = [rbo(rng.permutation(6), rng.permutation(6)) for _ in range(4000)]
    assert rbo(constant, constant) == pytest.approx(np.mean(breaks), abs=0.01)


@pytest.mark.parametrize(
    ("other", "options", "error", "fragment"),
    [
        ([1, 2, 3], {}, FeatureAlignmentError, "other has 3 entries but importances have 2"),
        ([1, np.nan], {}, DataError, "other must be finite"),
        ([1, 2], {"p": 1.0}, ParameterError, "p must be"),
        ([1, 2], {"p": 0.0}, ParameterError, "p must be"),
        ([1, 2], {"depth": 0}, ParameterError, "depth must be"),
    ],
)
def test_bad_input(other, options, error, fragment):
    with pytest.raises(error, match=fragment):
        rbo([1, 2], other, **options)
