from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.metrics import precision_at_k, recall_at_k
from tests.reference import recovery as twin

VALUES = st.sampled_from([-1.0, 0.0, 0.5, 1.0])  # few values, so that ties are common


@st.composite
def cases(draw, n_max=6):
    truth = draw(st.lists(st.booleans(), min_size=1, max_size=n_max).filter(any))
    values = draw(st.lists(VALUES, min_size=len(truth), max_size=len(truth)))
    return values, truth, draw(st.integers(1, len(truth)))


@given(cases())
def test_equals_the_mean_over_every_order_of_ties(case):
    values, truth, k = case
    hits = twin.hits_at_k(values, truth, k)
    assert precision_at_k(values, truth, k) == pytest.approx(hits / k)
    assert recall_at_k(values, truth, k) == pytest.approx(hits / sum(truth))


@given(cases())
def test_k_defaults_to_the_number_of_true_features(case):
    values, truth, _ = case
    found = precision_at_k(values, truth)
    assert found == pytest.approx(precision_at_k(values, truth, sum(truth)))
    assert found == pytest.approx(recall_at_k(values, truth))


@given(cases(n_max=12))
def test_more_ranks_find_no_less(case):
    values, truth, _ = case
    recalls = [recall_at_k(values, truth, k) for k in range(1, len(truth) + 1)]
    assert (np.diff(recalls) >= -1e-12).all()
    assert recalls[-1] == pytest.approx(1.0)


def test_k_beyond_the_features_means_all():
    assert precision_at_k([3, 2, 1], [0, 1, 0], 10) == precision_at_k([3, 2, 1], [0, 1, 0], 3) == 1 / 3
    assert recall_at_k([3, 2, 1], [0, 1, 0], 10) == 1.0


def test_precision_of_constant_importances_is_the_prevalence():
    assert precision_at_k(np.ones(8), np.arange(8) < 2, 3) == pytest.approx(0.25)


@pytest.mark.parametrize("metric", [precision_at_k, recall_at_k])
@pytest.mark.parametrize(
    ("k", "error"), [(0, ParameterError), (-1, ParameterError), (1.5, ParameterTypeError)]
)
def test_bad_k(metric, k, error):
    with pytest.raises(error, match="k must be"):
        metric([1, 2], [1, 0], k)
