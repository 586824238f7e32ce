"""Families of functions, against the same functions one number at a time."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._fourier import FourierFeatures, cosine
from flatcausal.datasets._functions import Polynomial, Tree
from flatcausal.datasets._mechanisms import MECHANISMS, Link, Mixture, draw_mechanism
from tests.reference import structural as twin


@pytest.mark.parametrize("family", MECHANISMS)
@pytest.mark.parametrize("n_parents", [1, 2, 7])
def test_equal_to_the_scalar_twin(family, n_parents):
    rng = np.random.default_rng(n_parents)
    for _ in range(4):
        mechanism, link = draw_mechanism((family,), n_parents, rng)
        x = 1.5 * rng.standard_normal((n_parents, 9))
        values = mechanism(x.copy())
        expected = [twin.function(mechanism, column) for column in x.T]
        np.testing.assert_allclose(values, expected, rtol=1e-11, atol=1e-11)
        assert (link is not None) == (family == "post_nonlinear")
        if link is not None:
            np.testing.assert_allclose(link(values), [twin.link(link, t) for t in expected], atol=1e-11)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(mechanism))(x), values)


@pytest.mark.parametrize("family", MECHANISMS)
def test_a_function_leaves_its_arguments_alone_and_does_not_change(family):
    rng = np.random.default_rng(0)
    mechanism, _ = draw_mechanism((family,), 3, rng)
    x = rng.standard_normal((3, 50))
    kept = x.copy()
    first = mechanism(x)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(mechanism(x), first)
    np.testing.assert_allclose(mechanism(x[:, 20:30]), first[20:30], rtol=1e-12, atol=1e-12)


def test_every_family_is_drawn():
    rng = np.random.default_rng(0)
    drawn = {type(draw_mechanism(MECHANISMS, 2, rng)[0]).__name__ for _ in range(200)}
    assert drawn == {"Linear", "MLP", "FourierFeatures", "Polynomial", "Tree", "Mixture"}
    assert {Link.draw(rng).name for _ in range(50)} == {"tanh", "asinh", "cbrt"}


def test_cosine_is_numpys():
    turns = np.random.default_rng(0).uniform(-50, 50, (20, 5000))
    np.testing.assert_allclose(cosine(turns.copy()), np.cos(2 * np.pi * turns), atol=2e-13)
    exact = np.array([-1.5, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(cosine(exact.copy()), [-1, -1, 0, 1, 0, -1, 1, -1], atol=1e-14)


@pytest.mark.parametrize("n_parents", [1, 3])
def test_fourier_features_have_a_gaussian_kernel(n_parents):
    # E f(x) f(x') over draws is the mean over length scales l ~ U(0.7, 2) sqrt(k) of exp(-|x - x'|² / 2 l²).
    rng = np.random.default_rng(n_parents)
    x = rng.standard_normal((n_parents, 8))
    draws = np.array([FourierFeatures.draw(n_parents, rng)(x) for _ in range(6000)])
    squares = ((x[:, :, None] - x[:, None]) ** 2).sum(axis=0)
    lengths = np.linspace(0.7, 2.0, 400)[:, None, None] * np.sqrt(n_parents)
    kernel = np.exp(-squares / 2 / lengths**2).mean(axis=0)
    assert np.abs(draws.T @ draws / len(draws) - kernel).max() < 0.08
    assert np.abs(draws.mean(axis=0)).max() < 0.06


def test_long_inputs_are_evaluated_in_pieces():
    rng = np.random.default_rng(0)
    mechanism = FourierFeatures.draw(2, rng)
    x = rng.standard_normal((2, 2500))
    pieces = np.concatenate([mechanism(x[:, :1024]), mechanism(x[:, 1024:2048]), mechanism(x[:, 2048:])])
    np.testing.assert_array_equal(mechanism(x), pieces)


def test_polynomials_and_trees_are_bounded():
    rng = np.random.default_rng(0)
    far = 1e6 * rng.standard_normal((3, 2000))
    for _ in range(20):
        polynomial, tree = Polynomial.draw(3, rng), Tree.draw(3, rng)
        bound = np.abs(polynomial.coefficients[0]).sum() * 3
        bound += np.abs(polynomial.coefficients[1]).sum() * 8 / np.sqrt(2)
        bound += np.abs(polynomial.coefficients[2]).sum() * 18 / np.sqrt(6)
        assert np.abs(polynomial(far)).max() <= bound
        assert set(tree(far)) <= set(tree.leaves)
        assert len(tree.leaves) in (4, 8, 16)


def test_hermite_terms_have_unit_variance_under_a_normal():
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    inside = np.abs(nodes) < 3
    powers = []
    for power in range(3):
        coefficients = np.zeros((3, 4))
        coefficients[power, 0] = 1.0
        values = Polynomial(np.ones((4, 1)), coefficients)(nodes[None])
        exact = [np.polynomial.hermite_e.hermeval(nodes, [0] * (d + 1) + [1]) for d in range(3)][power]
        np.testing.assert_allclose(values[inside], exact[inside] / np.sqrt([1, 2, 6][power]), atol=1e-12)
        powers.append((weights * values**2).sum() / weights.sum())
    # Winsorising takes from the higher powers, the cube most.
    np.testing.assert_allclose(powers, [0.995, 0.96, 0.82], atol=0.05)


def test_a_mixture_is_additive():
    rng = np.random.default_rng(0)
    for _ in range(10):
        mixture = Mixture.draw(3, rng)
        a, b = rng.standard_normal((2, 3, 40))
        swapped = np.vstack([b[:1], a[1:]])
        for other in (b, swapped):
            gained = mixture(np.vstack([other[:1], a[1:]])) - mixture(a)
            again = mixture(np.vstack([other[:1], b[1:]])) - mixture(np.vstack([a[:1], b[1:]]))
            np.testing.assert_allclose(gained, again, atol=1e-10)


@pytest.mark.parametrize("family", MECHANISMS)
@pytest.mark.parametrize("noise_mode", ["additive", "multiplicative", "heteroscedastic", "functional"])
def test_a_whole_model_equals_the_row_by_row_twin(family, noise_mode):
    ds = SyntheticDAGDataset(
        n_nodes=7, mechanisms=family, noise_mode=noise_mode, n_calibration=1000, random_state=1
    )
    model = ds._blueprint.model
    noise = model.draw_noise(6, np.random.default_rng(0))
    slow = np.array([twin.evaluate_row(model, row) for row in noise.T])
    np.testing.assert_allclose(model.evaluate(noise).T, slow, rtol=1e-9, atol=1e-9)
