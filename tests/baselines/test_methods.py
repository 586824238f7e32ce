"""Each method against a twin, a closed form, or a model whose one cause is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.feature_selection import f_classif

from flatcausal.baselines import METHODS, baseline_importances

ALONE = [name for name, method in METHODS.items() if not method.needs and not method.package]
LEARNING = [name for name in ALONE if name != "random"]


def one_cause(n=300, seed=0):
    """Noise, the cause of y, noise and a constant."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n, 3)), np.ones(n)])
    return X, 2 * X[:, 1] + 0.5 * rng.normal(size=n)


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("kind", ["numbers", "two classes", "three classes"])
def test_each_method_finds_the_one_cause_of_a_linear_model(name, kind):
    X, y = one_cause()
    if kind == "two classes":
        y = np.where(y > 0, "yes", "no")
    elif kind == "three classes":
        y = np.array(["low", "middle", "high"])[np.digitize(y, [-1, 1])]
    shares = baseline_importances(X, y, [name], random_state=0).loc[name].to_numpy()
    assert shares.argmax() == 1
    assert shares[1] > 0.6
    assert shares[3] == 0
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_correlations_are_those_of_numpy(seed, weight):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(25, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, -3]
    y = weight * X[:, 0] + rng.normal(size=25)
    expected = np.abs(np.corrcoef(X.T, y)[-1, :-1])
    np.testing.assert_allclose(
        baseline_importances(X, y, ["correlation"], task="regression").loc["correlation"],
        expected / expected.sum(),
        rtol=1e-9,
    )


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_the_correlation_ratio_of_classes_is_that_of_the_analysis_of_variance(seed, n_classes):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), 10)
    X = rng.normal(size=(len(y), 3)) + y[:, None] * [0, 1, 3]
    F = f_classif(X, y)[0] * (n_classes - 1) / (len(y) - n_classes)
    expected = np.sqrt(F / (1 + F))
    found = baseline_importances(X, y, ["correlation"], task="classification").loc["correlation"]
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-9)
    if n_classes == 2:
        numbers = baseline_importances(X, y, ["correlation"], task="regression").loc["correlation"]
        np.testing.assert_allclose(found, numbers, rtol=1e-9)


@pytest.mark.parametrize("name", ["correlation", "lasso", "boosting_permutation", "forest_impurity"])
def test_permuted_columns_permute_importances(name):
    X, y = one_cause()
    order = [2, 0, 3, 1]
    found = baseline_importances(X, y, [name], random_state=0).to_numpy()[0]
    permuted = baseline_importances(X[:, order], y, [name], random_state=0).to_numpy()[0]
    # A forest visits features in a random order, which decides between splits that are equally good.
    np.testing.assert_allclose(permuted, found[order], atol=0.02 if name == "forest_impurity" else 1e-6)


@pytest.mark.parametrize("name", ["correlation", "lasso", "forest_permutation"])
def test_units_do_not_matter(name):
    X, y = one_cause()
    found = baseline_importances(X, y, [name], random_state=0).to_numpy()
    scaled = baseline_importances(X * [1024, 1, 1 / 64, 2], 32 * y, [name], random_state=0).to_numpy()
    np.testing.assert_allclose(scaled, found, rtol=1e-6)


def test_permutation_is_measured_on_rows_that_were_not_fitted():
    """A target of pure noise is learnt by heart by trees, yet nothing is found on other rows."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 1)), rng.normal(size=400)
    table = baseline_importances(X, y, ["boosting_permutation", "forest_impurity"], random_state=0)
    assert table.loc["forest_impurity"].item() == 1
    found = [
        baseline_importances(X, rng.normal(size=400), ["boosting_permutation"], random_state=0).to_numpy()
        for _ in range(6)
    ]
    assert 0 in found


def test_random_importances_are_uniform_on_the_simplex():
    X = np.random.default_rng(0).normal(size=(20, 500))
    shares = baseline_importances(X, X[:, 0], ["random"], random_state=0).to_numpy()[0]
    # Then each share is Beta(1, 499), and shares do not cling to the order of columns.
    assert stats.kstest(shares, stats.beta(1, 499).cdf).pvalue > 0.01
    assert stats.spearmanr(shares, np.arange(500)).pvalue > 0.01


def test_a_method_that_finds_nothing_has_zeros():
    X, y = np.ones((40, 2)), np.arange(40.0)
    table = baseline_importances(X, y, LEARNING, random_state=0)
    assert (table == 0).all(axis=None)


def collider(n=2000):
    """``a -> y <- b``, ``y -> c <- d``: every direction is identified; ``z`` is noise."""
    rng = np.random.default_rng(1)
    a, b, d, z, u, v = rng.normal(size=(6, n))
    y = a + b + 0.5 * u
    return pd.DataFrame({"z": z, "c": y + d + 0.5 * v, "a": a, "k": 1.0, "d": d, "b": b}), y


def test_pc_finds_parents_and_blanket():
    pytest.importorskip("causallearn")
    X, y = collider()
    table = baseline_importances(X, y, ["pc_parents", "pc_markov_blanket"])
    assert table.loc["pc_parents"].to_dict() == {"z": 0, "c": 0, "a": 0.5, "k": 0, "d": 0, "b": 0.5}
    assert table.loc["pc_markov_blanket"].to_dict() == {
        "z": 0,
        "c": 0.25,
        "a": 0.25,
        "k": 0,
        "d": 0.25,
        "b": 0.25,
    }
    order = ["b", "z", "d", "c", "k", "a"]
    pd.testing.assert_frame_equal(baseline_importances(X[order], y, table.index), table[order])


def test_pc_counts_an_edge_that_stays_undirected_half():
    """``a -> p <- b`` directs ``p -> w`` and ``p -> y``; whether ``w -> y`` or ``y -> w`` nothing tells."""
    pytest.importorskip("causallearn")
    a, b, u, v, e = np.random.default_rng(0).normal(size=(5, 2000))
    p = a + b + u
    w = p + v
    table = baseline_importances(
        np.column_stack([a, b, p, w]), p + 0.4 * w + e, ["pc_parents", "pc_markov_blanket"]
    )
    np.testing.assert_allclose(table, [[0, 0, 2 / 3, 1 / 3], [0, 0, 1 / 2, 1 / 2]])


def test_pc_takes_two_classes_and_refuses_a_copy():
    pytest.importorskip("causallearn")
    X, y = collider()
    blanket = baseline_importances(X, y > 0, ["pc_markov_blanket"]).loc["pc_markov_blanket"]
    assert (blanket[["a", "b", "c", "d"]] > 0).all()
    with pytest.raises(ValueError, match="PC cannot test partial correlations"):
        baseline_importances(X.assign(copy=X["a"]), y, ["pc_parents"])


def environments(n=300):
    """A cause whose law shifts, and an effect whose mechanism does."""
    rng = np.random.default_rng(0)
    label = np.repeat(["one", "two", "three"], n)
    shift = np.repeat([0.0, 1.0, 2.0], n)
    a, other = rng.normal(size=(2, 3 * n)) * (1 + shift)
    y = a - other + rng.normal(size=3 * n)
    effect = (1 - shift) * y + rng.normal(size=3 * n)
    noise = rng.normal(size=(12, 3 * n)).T
    return np.column_stack([effect, a, noise, other]), y, label


def test_invariant_causal_prediction_finds_the_causes_among_screened_features():
    pytest.importorskip("causalicp")
    X, y, label = environments()
    shares = baseline_importances(X, y, ["icp"], environments=label, random_state=0).loc["icp"]
    assert shares[shares > 0].to_dict() == {"x1": 0.5, "x14": 0.5}
    mixed = np.random.default_rng(0).permutation(len(y))
    again = baseline_importances(X[mixed], y[mixed], ["icp"], environments=label[mixed], random_state=0)
    np.testing.assert_array_equal(again.loc["icp"], shares)


def test_invariant_causal_prediction_seldom_names_anything_without_shift():
    """Its level is 0.05; 9 of 30 or more would have a probability below 0.0001."""
    pytest.importorskip("causalicp")
    named = 0
    for seed in range(30):
        X, y = one_cause(60, seed)
        table = baseline_importances(X, y, ["icp"], environments=np.arange(60) % 2, random_state=0)
        named += (table != 0).any(axis=None)
    assert named < 9
