"""What parents explain on every node, together and each: all families, all noise modes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._mechanisms import MECHANISMS
from flatcausal.datasets._shares import smallest_share, unexplained_share
from tests.reference import shares as twin

MODES = ["additive", "multiplicative", "heteroscedastic", "functional"]


@pytest.mark.parametrize("noise_mode", MODES)
@pytest.mark.parametrize("family", MECHANISMS)
def test_variance_and_share_of_every_node(family, noise_mode):
    ds = SyntheticDAGDataset(
        n_nodes=6, mechanisms=family, noise_mode=noise_mode, r2_range=(0.6, 0.6), random_state=2
    )
    model = ds._blueprint.model
    rng = np.random.default_rng(5)
    values = model.evaluate(model.draw_noise(20_000, rng))
    for node, assignment in enumerate(model.assignments):
        assert values[node].mean() == pytest.approx(0, abs=0.06)
        kurtosis = (values[node] ** 4).mean()
        assert values[node].var() == pytest.approx(1, abs=5 * np.sqrt(kurtosis / 10_000))
        assert kurtosis < 60 or noise_mode == "multiplicative"
        if assignment.parents:
            assert twin.unexplained(model, node, values[:, :2000], rng) == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("noise", ["laplace", "t", "gumbel", "mixture"])
@pytest.mark.parametrize("noise_mode", MODES)
def test_shares_under_other_laws_of_noise(noise, noise_mode):
    ds = SyntheticDAGDataset(
        n_nodes=7,
        mechanisms=("mlp", "post_nonlinear"),
        noise=noise,
        noise_mode=noise_mode,
        r2_range=(0.7, 0.7),
        random_state=4,
    )
    model = ds._blueprint.model
    rng = np.random.default_rng(6)
    values = model.evaluate(model.draw_noise(20_000, rng))
    for node, assignment in enumerate(model.assignments):
        if assignment.parents:
            assert twin.unexplained(model, node, values[:, :3000], rng) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("noise_mode", MODES)
@pytest.mark.parametrize("family", MECHANISMS)
def test_no_phantom_edges(family, noise_mode):
    ds = SyntheticDAGDataset(
        n_nodes=7,
        expected_degree=6,
        mechanisms=family,
        noise_mode=noise_mode,
        r2_range=(0.5, 0.5),
        n_calibration=5000,
        random_state=3,
    )
    model = ds._blueprint.model
    noise = model.draw_noise(16_000, np.random.default_rng(99))
    values = model.evaluate(noise)
    for node, assignment in enumerate(model.assignments):
        if len(assignment.parents) > 1:
            assert twin.smallest_parent_share(model, node, values, noise, explained=0.5) > 0.02


def test_unexplained_share_of_a_linear_function_is_exact():
    rng = np.random.default_rng(0)
    x, u = rng.standard_normal((2, 200_000))
    assert unexplained_share(lambda u: x + 0.5 * u, u) == pytest.approx(0.25 / 1.25, rel=0.03)


def test_smallest_share_of_a_linear_function_is_exact():
    rng = np.random.default_rng(0)
    parents = rng.standard_normal((3, 200_000))
    weights = np.array([1.0, -2.0, 0.5])
    assert smallest_share(lambda x: weights @ x, parents) == pytest.approx(0.25 / 5.25, rel=0.03)


def test_multiplicative_noise_grows_with_the_function():
    model = _two_nodes("multiplicative")
    assignment = model.assignments[1]
    x = np.array([[0.5, 1.0, 2.0]])
    width = assignment(x, np.ones(3)) - assignment(x, np.zeros(3))
    np.testing.assert_allclose(width / width[0], [1.0, 2.0, 4.0])  # f is linear


def test_heteroscedastic_noise_is_never_absent_and_free_of_the_signal():
    model = _two_nodes("heteroscedastic")
    assignment = model.assignments[1]
    x = np.linspace(-3, 3, 200)[None]
    width = assignment(x, np.ones(200)) - assignment(x, np.zeros(200))
    assert width.min() > 0.01
    assert width.max() > 1.5 * width.min()
    np.testing.assert_allclose(assignment(x, np.full(200, -1.0)), assignment(x, np.zeros(200)) - width)


def test_functional_noise_is_neither_additive_nor_symmetric():
    model = _two_nodes("functional", mechanisms="mlp")
    assignment = model.assignments[1]
    x = np.linspace(-2, 2, 50)[None]
    up, middle, down = (assignment(x, np.full(50, u)) for u in (1.0, 0.0, -1.0))
    assert np.ptp(up - middle) > 0.05
    assert np.abs(up + down - 2 * middle).max() > 0.05


def _two_nodes(noise_mode, mechanisms="linear"):
    ds = SyntheticDAGDataset(
        adjacency=[("x", "y")],
        target="y",
        n_distractors=0,
        mechanisms=mechanisms,
        noise_mode=noise_mode,
        n_calibration=1000,
        random_state=0,
    )
    return ds._blueprint.model


@pytest.mark.parametrize("noise_mode", MODES)
def test_environments_move_the_noise_in_every_mode(noise_mode):
    ds = SyntheticDAGDataset(
        n_nodes=8,
        noise_mode=noise_mode,
        mechanisms=("mlp", "post_nonlinear"),
        n_calibration=1000,
        random_state=0,
    )
    usual = ds.sample(40, random_state=1)
    for kind in ("do", "shift", "scale"):
        env = ds.environments(1, kind=kind, random_state=2)[0]
        moved = ds.sample(40, env=env, random_state=1)
        for name in env.features:
            column = ds.feature_names_.index(name)
            assert (moved.X[:, column] != usual.X[:, column]).all()


@pytest.mark.parametrize(
    ("seed", "parameters"),
    [
        (19, {"task": "classification", "categorical_fraction": 0.5}),
        (23, {"categorical_fraction": 1.0, "categorical_types": "binary"}),
        *((seed, {"categorical_fraction": 0.5}) for seed in range(8)),
    ],
)
def test_shares_where_a_tree_jumps_past_them(seed, parameters):
    """A step function may have no gain of the noise that leaves parents their share: it is drawn again."""
    ds = SyntheticDAGDataset(
        8,
        0,
        mechanisms="tree",
        noise_mode="functional",
        r2_range=(0.6, 0.6),
        n_calibration=4000,
        random_state=seed,
        **parameters,
    )
    model, rng = ds._blueprint.model, np.random.default_rng(0)
    noise = model.draw_noise(20_000, rng)
    values = model.evaluate(noise)
    for node, assignment in enumerate(model.assignments):
        if assignment.parents:
            latent = assignment.inner if hasattr(assignment, "levels") else assignment
            inputs = values[list(assignment.parents)]
            left = unexplained_share(partial(latent, inputs), noise[node])
            assert left == pytest.approx(0.4, abs=0.08)
