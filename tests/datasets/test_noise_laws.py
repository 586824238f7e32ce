"""Distribution functions against scipy.stats and against the noise that is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from flatcausal.datasets._noise import NOISE
from flatcausal.datasets._noise_laws import NoiseLaw
from tests.reference.noise_laws import LAWS


@pytest.mark.parametrize("name", NOISE)
def test_distribution_function_and_quantiles(name):
    law, p = NoiseLaw(name), np.linspace(1e-6, 1 - 1e-6, 201)
    u = np.linspace(-8, 8, 801)
    np.testing.assert_allclose(law.cdf(u), LAWS[name].cdf(u), atol=1e-13)
    np.testing.assert_allclose(law.quantile(p), LAWS[name].ppf(p), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(law.cdf(law.quantile(p)), p, atol=1e-12)


@pytest.mark.parametrize("name", NOISE)
def test_what_is_drawn_has_this_law(name):
    rank = np.sort(NoiseLaw(name).cdf(NOISE[name](np.random.default_rng(0), (20_000,))))
    # Kolmogorov's distance of uniform ranks exceeds 1.63 / sqrt(n) once in a hundred seeds.
    assert np.abs(rank - (np.arange(20_000) + 0.5) / 20_000).max() < 1.63 / np.sqrt(20_000)


def test_extreme_noise_is_no_warning():
    with np.errstate(all="raise"):
        assert NoiseLaw("gumbel").cdf(np.array([-1e3, 1e3])).tolist() == [0.0, 1.0]
