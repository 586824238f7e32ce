"""The model's equations: scaling, noise, interventions, exact laws."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._shares import smallest_share
from tests.reference import structural as twin


def test_evaluation_equals_the_row_by_row_twin():
    for seed in range(5):
        model = SyntheticDAGDataset(n_nodes=9, random_state=seed)._blueprint.model
        noise = model.draw_noise(7, np.random.default_rng(seed))
        slow = np.array([twin.evaluate_row(model, row) for row in noise.T])
        np.testing.assert_allclose(model.evaluate(noise).T, slow, atol=1e-12)


@pytest.mark.parametrize("noise", ["normal", "laplace", "uniform"])
@pytest.mark.parametrize("r2_range", [(0.3, 0.9), (0.5, 0.5)])
def test_variance_and_r2_of_every_node(noise, r2_range):
    for seed in range(3):
        ds = SyntheticDAGDataset(n_nodes=15, noise=noise, r2_range=r2_range, random_state=seed)
        model = ds._blueprint.model
        u = model.draw_noise(40_000, np.random.default_rng(seed))
        values = model.evaluate(u)
        for node, assignment in enumerate(model.assignments):
            share = 1 - assignment.noise_scale**2
            if assignment.parents:
                assert r2_range[0] - 1e-12 <= share <= r2_range[1] + 1e-12
            else:
                assert share == 0
            assert values[node].var() == pytest.approx(1, abs=0.06)
            unexplained = (assignment.noise_scale * u[node]).var()
            assert 1 - unexplained / values[node].var() == pytest.approx(share, abs=0.03)


def test_r2_seen_from_outside_by_holding_the_parents():
    ds = SyntheticDAGDataset(n_nodes=10, n_distractors=0, random_state=4)
    usual = ds.sample(20_000, random_state=0)
    for effect in ds.graph_:
        parents = list(ds.graph_.predecessors(effect))
        if not parents or "y" in parents:  # the target cannot be held
            continue
        held = ds.sample(20_000, do=dict.fromkeys(parents, 0.3), random_state=0)
        # Noise of its own is all that is left, and there is some on every node.
        left = _values(ds, held, effect).var() / _values(ds, usual, effect).var()
        assert 0.25 < 1 - left < 0.93


def test_no_phantom_edges():
    # In full graphs of ten nodes one node in nine would have such a parent if draws were not repeated.
    for seed in range(8):
        ds = SyntheticDAGDataset(
            n_nodes=10, expected_degree=9, mechanisms="linear", n_calibration=5000, random_state=seed
        )
        model = ds._blueprint.model
        values = model.evaluate(model.draw_noise(8000, np.random.default_rng(99)))
        for assignment in model.assignments:
            if assignment.parents:
                share = smallest_share(assignment.mechanism, values[list(assignment.parents)])
                assert share > min(0.02, 0.16 / len(assignment.parents))


def test_linear_gaussian_covariance():
    for seed in range(4):
        ds = SyntheticDAGDataset(n_nodes=8, mechanisms=("linear",), random_state=seed)
        model = ds._blueprint.model
        exact = twin.linear_covariance(model)
        values = model.evaluate(model.draw_noise(100_000, np.random.default_rng(seed)))
        # sd of an entry is at most sqrt(2 / n); 36 entries, four seeds
        assert np.abs(np.cov(values) - exact).max() < 5 * np.sqrt(2 / 100_000)
        assert np.diag(exact) == pytest.approx(1, abs=0.08)


def test_linear_interventions_have_the_total_effect():
    for seed in range(4):
        ds = SyntheticDAGDataset(n_nodes=8, n_distractors=0, mechanisms="linear", random_state=seed)
        effects = twin.total_effects(ds._blueprint.model)
        target = ds._blueprint.target
        for name, node in ds._columns.node_of.items():
            low = ds.sample(50, do={name: -1.0}, random_state=1).y
            high = ds.sample(50, do={name: 2.0}, random_state=1).y
            np.testing.assert_allclose(high - low, 3.0 * effects[node, target], atol=1e-12)


@given(seed=st.integers(0, 10**5), pick=st.integers(0, 100), value=st.floats(-5, 5))
@settings(max_examples=25, deadline=None)
def test_do_leaves_non_descendants_bitwise_unchanged(seed, pick, value):
    ds = SyntheticDAGDataset(n_nodes=9, n_distractors=3, n_calibration=1000, random_state=seed)
    name = ds.feature_names_[pick % ds.n_features_]
    usual = ds.sample(30, random_state=5)
    forced = ds.sample(30, do={name: value}, random_state=5)
    downstream = _descendants(ds, name)
    for column, feature in enumerate(ds.feature_names_):
        if feature == name:
            assert (forced.X[:, column] == value).all()
        elif feature not in downstream:
            np.testing.assert_array_equal(forced.X[:, column], usual.X[:, column])
        else:
            assert (forced.X[:, column] != usual.X[:, column]).any()
    assert np.array_equal(forced.y, usual.y) == ("y" not in downstream)


def test_do_cuts_a_feature_from_its_parents():
    ds = SyntheticDAGDataset(n_nodes=12, n_distractors=0, random_state=2)
    name = next(f for f in ds.feature_names_ if ds.graph_.in_degree(f) >= 2)
    forced = np.random.default_rng(0).standard_normal(5000)
    X = ds.sample(5000, do={name: forced}).X
    column = ds.feature_names_.index(name)
    np.testing.assert_array_equal(X[:, column], forced)
    for parent in ds.graph_.predecessors(name):
        related = np.corrcoef(X[:, ds.feature_names_.index(parent)], forced)[0, 1]
        assert abs(related) < 5 / np.sqrt(5000)


def _values(ds, sample, name):
    return sample.y if name == "y" else sample.X[:, ds.feature_names_.index(name)]


def _descendants(ds, name):
    return nx.descendants(ds.graph_, name) if name in ds.graph_ else set()
