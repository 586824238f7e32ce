from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from flatcausal.exceptions import ParameterError
from flatcausal.study import compare, compare_splits
from flatcausal.study._splits import compare_as_designed, resampled_t


def records(differences):
    """Two optimizers whose risks differ by the given numbers, one a split."""
    blocks = [f"split-{k:03d}" for k in range(len(differences))]
    level = np.random.default_rng(0).normal(size=len(blocks))
    a = pd.DataFrame({"block": blocks, "optimizer": "sam", "risk": level + differences})
    return pd.concat([a, a.assign(optimizer="sgd", risk=level)])


def risks_of_two_equal_learners(seed, n_splits, n_rows=80, n_test=20):
    """Differences over splits of one table that is symmetric in the two learners."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 2))
    y = x.sum(axis=1) + rng.normal(size=n_rows)
    order = np.argsort(rng.random((n_splits, n_rows)), axis=1)
    test, train = order[:, :n_test], order[:, n_test:]
    slope = (x[train] * y[train, None]).sum(axis=1) / (x[train] ** 2).sum(axis=1)
    errors = np.mean((y[test, None] - slope[:, None] * x[test]) ** 2, axis=1)
    return errors[:, 0] - errors[:, 1]


def test_it_is_the_formula_of_nadeau_and_bengio():
    d = np.random.default_rng(1).normal(0.4, 1.0, size=12)
    row = compare_splits(records(d), "risk", "sgd", test_share=0.2).iloc[0]
    error = math.sqrt((1 / 12 + 0.2 / 0.8) * d.var(ddof=1))
    assert row["estimate"] == pytest.approx(d.mean())
    assert row["p"] == pytest.approx(2 * stats.t.sf(d.mean() / error, 11))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(stats.t.interval(0.95, 11, d.mean(), error))
    assert list(row.index) == list(compare(records(d), "risk", "sgd").columns)


@pytest.mark.parametrize("n_splits", [10, 100])
def test_false_positives_stay_near_the_level_however_many_splits(n_splits):
    reps = 200
    draws = [risks_of_two_equal_learners(seed, n_splits) for seed in range(reps)]
    shown = [resampled_t(d, 20 / 60, 0.95).p <= 0.05 for d in draws]
    assert np.mean(shown) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / reps)


def test_a_clear_difference_is_shown():
    d = np.random.default_rng(2).normal(3.0, 1.0, size=10)
    assert compare_splits(records(d), "risk", "sgd", test_share=0.25)["verdict"][0] == "a higher"
    assert compare_splits(records(-d), "risk", "sgd", test_share=0.25)["verdict"][0] == "a lower"


def test_splits_without_spread_or_without_number():
    row = compare_splits(records(np.zeros(5)), "risk", "sgd", test_share=0.25).iloc[0]
    assert (row["p"], row["verdict"], row["note"]) == (1.0, "no difference shown", "identical on every block")
    row = compare_splits(records(np.ones(1)), "risk", "sgd", test_share=0.25).iloc[0]
    assert (row["p"], row["verdict"]) == (1.0, "too few blocks")
    assert np.isinf(row["ci_low"])


def test_a_share_is_checked():
    with pytest.raises(ParameterError, match="test_share"):
        compare_splits(records(np.ones(4)), "risk", test_share=1.0)


def test_the_design_chooses_the_test():
    frame = records(np.random.default_rng(3).normal(1.0, 1.0, size=10))
    table = {"control": "sgd", "data": {"kind": "table", "test_fraction": 0.5}}
    graphs = {"control": "sgd", "data": {"kind": "synthetic"}}
    expected = compare_splits(frame, "risk", "sgd", test_share=0.5)
    pd.testing.assert_frame_equal(compare_as_designed(frame, "risk", table), expected)
    pd.testing.assert_frame_equal(compare_as_designed(frame, "risk", graphs), compare(frame, "risk", "sgd"))
