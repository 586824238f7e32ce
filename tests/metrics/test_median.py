from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatcausal.exceptions import DataError, FeatureAlignmentError
from flatcausal.metrics import median_false_rates
from tests.reference import recovery as twin


@st.composite
def cases(draw):
    relevant = draw(st.lists(st.booleans(), min_size=2, max_size=9).filter(lambda r: any(r) and not all(r)))
    values = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(relevant), max_size=len(relevant)))
    return values, relevant


@given(cases())
def test_equals_the_rule(case):
    values, relevant = case
    rates = median_false_rates(values, relevant)
    missed, false = twin.median_rates(values, relevant)
    assert rates.fn_relevant == pytest.approx(missed)
    assert rates.fp == rates.fp_irrelevant == pytest.approx(false)
    assert np.isnan(rates.fp_random)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_the_minimum_is_the_best_of_all_rankings(n):
    for n_relevant in range(1, n):
        relevant = np.arange(n) < n_relevant
        every = [median_false_rates(ranking, relevant) for ranking in permutations(range(n))]
        assert every[0].fn_minimum == min(rates.fn_relevant for rates in every)
        assert every[0].fp_minimum == min(rates.fp for rates in every)


@pytest.mark.parametrize(("sizes", "minimum"), [((11, 48, 40), 38 / 88), ((339, 260, 400), 160 / 660)])
def test_a_perfect_ranking_of_the_published_sizes(sizes, minimum):
    group = np.repeat([0, 1, 2], sizes)
    rng = np.random.default_rng(0)
    draws = [
        median_false_rates((group == 0) + 1e-6 * rng.random(len(group)), group == 0, group == 2)
        for _ in range(200)
    ]
    assert {rates.fp_minimum for rates in draws} == {minimum}
    assert {rates.fn_relevant for rates in draws} == {0.0}
    assert all(rates.fp == pytest.approx(minimum) for rates in draws)
    assert np.mean([rates.fp_irrelevant for rates in draws]) == pytest.approx(minimum, abs=0.015)
    assert np.mean([rates.fp_random for rates in draws]) == pytest.approx(minimum, abs=0.015)


def test_exact_zeros_and_constants():
    group = np.repeat([0, 1, 2], (2, 3, 3))
    zeros = median_false_rates((group == 0) * 1.0, group == 0, group == 2)
    assert (zeros.fn_relevant, zeros.fp_irrelevant, zeros.fp_random) == (0.0, 0.0, 0.0)
    constant = median_false_rates(np.ones(8), group == 0, group == 2)
    assert (constant.fn_relevant, constant.fp_irrelevant, constant.fp_random) == (1.0, 0.0, 0.0)


def test_empty_groups_are_nan():
    none = median_false_rates([1, 2, 3], [0, 0, 0])
    assert np.isnan([none.fn_relevant, none.fn_minimum, none.fp_random]).all()
    every = median_false_rates([1, 2, 3], [1, 1, 1])
    assert np.isnan([every.fp, every.fp_minimum, every.fp_irrelevant]).all()


def test_huge_importances_have_a_median():
    assert median_false_rates([1e308, 1.5e308, 1.7e308, 1e307], [0, 1, 1, 0]).fn_relevant == 0.0


def test_signed():
    assert median_false_rates([-3.0, 1.0, 2.0], [1, 0, 0], signed=True).fn_relevant == 0.0


def test_bad_input():
    with pytest.raises(DataError, match="feature 1 is both relevant and random"):
        median_false_rates([1, 2, 3], [0, 1, 0], [0, 1, 1])
    with pytest.raises(FeatureAlignmentError, match="random has 2 entries"):
        median_false_rates([1, 2, 3], [0, 1, 0], [0, 1])
    with pytest.raises(DataError, match="importances must be finite"):
        median_false_rates([1, 2, np.nan], [0, 1, 0])
