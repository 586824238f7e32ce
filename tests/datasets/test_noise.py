from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._noise import NOISE

# Exact law of each kind, from scipy.
LAWS = {
    "normal": stats.norm(),
    "laplace": stats.laplace(scale=math.sqrt(0.5)),
    "uniform": stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    "t": stats.t(5, scale=math.sqrt(3 / 5)),
    "gumbel": stats.gumbel_r(-np.euler_gamma * math.sqrt(6) / math.pi, math.sqrt(6) / math.pi),
}


def _cdf(kind, x):
    if kind == "mixture":
        sd = math.sqrt(1 - 0.81)
        return (stats.norm.cdf(x, -0.9, sd) + stats.norm.cdf(x, 0.9, sd)) / 2
    return LAWS[kind].cdf(x)


@pytest.mark.parametrize("kind", NOISE)
def test_noise_has_its_law(kind):
    draws = NOISE[kind](np.random.default_rng(0), (100, 500)).ravel()
    assert stats.kstest(draws, lambda x: _cdf(kind, x)).pvalue > 1e-3


@pytest.mark.parametrize("kind", LAWS)
def test_the_exact_laws_have_mean_zero_and_variance_one(kind):
    mean, variance = LAWS[kind].stats("mv")
    assert mean == pytest.approx(0, abs=1e-12)
    assert variance == pytest.approx(1)


@pytest.mark.parametrize("kind", NOISE)
def test_drawn_moments(kind):
    draws = NOISE[kind](np.random.default_rng(1), (400_000,))
    assert draws.mean() == pytest.approx(0, abs=0.008)
    assert draws.var() == pytest.approx(1, abs=0.03)
    kurtosis = {"normal": 3.0, "laplace": 6.0, "uniform": 1.8, "gumbel": 5.4, "t": 9.0}
    # two bells at ±m of variance 1 - m²: m⁴ + 6 m² (1 - m²) + 3 (1 - m²)²
    kurtosis["mixture"] = 0.9**4 + 6 * 0.81 * 0.19 + 3 * 0.19**2
    assert (draws**4).mean() == pytest.approx(kurtosis[kind], rel=0.5 if kind == "t" else 0.08)


@pytest.mark.parametrize("kind", NOISE)
def test_the_noise_law_does_not_move_graph_roles_or_columns(kind):
    usual = SyntheticDAGDataset(n_nodes=9, n_calibration=1000, random_state=3)
    other = SyntheticDAGDataset(n_nodes=9, n_calibration=1000, noise=kind, random_state=3)
    np.testing.assert_array_equal(usual.adjacency_, other.adjacency_)
    assert usual.roles_ == other.roles_
    assert np.array_equal(usual.sample(5).X, other.sample(5).X) == (kind == "normal")
