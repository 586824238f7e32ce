"""Sortability: against its definition, a published package, and the numbers of each scaling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._graph_laws import erdos_renyi
from flatcausal.datasets._sortability import r2_scores, sortability
from tests.reference import sortability as twin


def test_equal_to_walking_over_all_paths():
    rng = np.random.default_rng(0)
    for _ in range(60):
        adjacency = erdos_renyi(int(rng.integers(3, 12)), 2.0, rng)
        scores = rng.integers(0, 4, len(adjacency)).astype(float)  # with ties
        if adjacency.any():
            assert sortability(adjacency, scores) == pytest.approx(twin.path_sortability(adjacency, scores))


def test_worked_example():
    # a -> b -> c and a -> c: paths a-b, b-c, a-c of one edge and a-c of two. Scores 1, 2, 2.
    adjacency = np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    assert sortability(adjacency, np.array([1.0, 2.0, 2.0])) == (1 + 0.5 + 1 + 1) / 4
    assert sortability(adjacency, np.array([3.0, 2.0, 1.0])) == 0.0
    assert math.isnan(sortability(np.zeros((3, 3)), np.arange(3.0)))


def test_r2_equals_one_regression_a_node():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6))
    np.testing.assert_allclose(r2_scores(values), twin.r2(values), atol=1e-9)


def test_r2_of_copies_and_constants():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 300))
    scores = r2_scores(np.column_stack([a, b, a, np.ones(300)]))
    np.testing.assert_allclose(scores, [1, 0, 1, 0], atol=0.05)
    np.testing.assert_array_equal(r2_scores(np.ones((10, 2))), [0, 0])


def test_the_published_package_gives_the_same():
    analytics = pytest.importorskip("CausalDisco.analytics")
    for seed, standardize in enumerate(["r2", "internal", None]):
        ds = SyntheticDAGDataset(15, 3, standardize=standardize, random_state=seed)
        model = ds._blueprint.model
        values = model.evaluate(model.draw_noise(3000, np.random.default_rng(seed))).T
        weights = model.adjacency.astype(float)
        ours = sortability(weights, values.var(axis=0)), sortability(weights, r2_scores(values))
        assert ours[0] == pytest.approx(analytics.var_sortability(values, weights))
        assert ours[1] == pytest.approx(analytics.r2_sortability(values, weights))


def test_of_a_dataset_it_is_deterministic_and_draws_nothing_else():
    used, fresh = (SyntheticDAGDataset(n_nodes=9, n_distractors=4, random_state=0) for _ in range(2))
    first = used.sortability()
    assert first == used.sortability() == fresh.sortability()
    assert set(first) == {"var", "r2"}
    assert used.sortability(2000) != first
    np.testing.assert_array_equal(
        used.sample(5).X, SyntheticDAGDataset(n_nodes=9, n_distractors=4, random_state=0).sample(5).X
    )


def test_its_rows_are_none_that_sample_draws():
    ds = SyntheticDAGDataset(n_nodes=9, n_distractors=0, random_state=0)
    found = ds.sortability(2000)
    X, y = ds.sample(2000, return_X_y=True)
    again = sortability(ds.adjacency_, np.column_stack([X, y]).var(axis=0))
    assert found["var"] != again


def test_no_edge_has_no_sortability():
    ds = SyntheticDAGDataset(adjacency=np.zeros((3, 3)), target=0, random_state=0)
    assert all(math.isnan(value) for value in ds.sortability().values())


def _mean_sortability(degree, count=20, **parameters):
    found = [
        SyntheticDAGDataset(
            20, 0, expected_degree=degree, n_calibration=2000, random_state=seed, **parameters
        ).sortability(2000)
        for seed in range(count)
    ]
    return {key: np.mean([one[key] for one in found]) for key in ("var", "r2")}


def test_raw_linear_models_betray_the_order():
    for degree, r2 in ((2, 0.71), (4, 0.82)):
        raw, shown = (
            _mean_sortability(degree, mechanisms="linear", standardize=how) for how in (None, "posthoc")
        )
        assert raw["var"] > 0.93
        assert raw["r2"] == pytest.approx(r2, abs=0.09)
        assert shown["r2"] == pytest.approx(raw["r2"])  # scaling afterwards does not hide it
        assert shown["var"] == pytest.approx(0.5, abs=0.14)


@pytest.mark.parametrize("standardize", ["internal", "uumc"])
def test_internal_and_uumc_betray_nothing_on_sparse_graphs(standardize):
    found = _mean_sortability(2, mechanisms="linear", standardize=standardize)
    assert found["var"] == pytest.approx(0.5, abs=0.14)
    assert found["r2"] == pytest.approx(0.5, abs=0.12)


def test_defaults_hide_the_order_from_variances_and_turn_that_of_r2():
    found = _mean_sortability(3)
    assert found["var"] == pytest.approx(0.5, abs=0.12)
    assert found["r2"] == pytest.approx(0.36, abs=0.09)  # as the class says: R² falls somewhat


@pytest.mark.parametrize(("degree", "r2"), [(2, 0.71), (4, 0.86), (10, 0.97)])
def test_the_published_law_of_weights_has_the_published_sortability(degree, r2):
    # Weights in ±[0.5, 2] and unit noise, from exact covariances: R² of j is 1 - 1 / (S_jj inv(S)_jj).
    rng = np.random.default_rng(degree)
    found = []
    for _ in range(40):
        adjacency = erdos_renyi(20, degree, rng)
        weights = adjacency * rng.uniform(0.5, 2.0, adjacency.shape) * rng.choice([-1, 1], adjacency.shape)
        inverse = np.linalg.inv(np.eye(20) - weights)
        covariance = inverse.T @ inverse
        precision = (np.eye(20) - weights) @ (np.eye(20) - weights).T
        scores = 1 - 1 / (np.diag(covariance) * np.diag(precision))
        found.append([sortability(adjacency, np.diag(covariance)), sortability(adjacency, scores)])
    assert np.mean(found, axis=0)[0] > 0.94
    assert np.mean(found, axis=0)[1] == pytest.approx(r2, abs=0.05)
