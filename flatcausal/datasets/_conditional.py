"""The target's law given its parents: mean and variance, exactly where its noise enters as a + b u."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._assignments import Assignment, LocationScale, Transformed
from flatcausal.datasets._categories import Categorised, NoisyLabel
from flatcausal.datasets._noise_laws import NoiseLaw

Array = NDArray[np.float64]

# Equally likely values of the noise, where no formula gives the integral over it.
_QUANTILES = 128


def conditional_moments(assignment: Assignment, inputs: Array, noise: NoiseLaw) -> tuple[Array, Array]:
    """E[x | parents] and Var(x | parents) for each row of the inputs (n_parents, n)."""
    n = inputs.shape[1]
    if isinstance(assignment, LocationScale):
        location = assignment(inputs, np.zeros(n))
        return location, (assignment(inputs, np.ones(n)) - location) ** 2
    values = _over_noise(assignment, inputs, noise)
    return values.mean(axis=0), values.var(axis=0)


def probability_of_one(assignment: Assignment, inputs: Array, noise: NoiseLaw) -> Array:
    r"""P(y = 1 | parents) of a binary node.

    .. math:: \eta(x) = \varepsilon + (1 - 2 \varepsilon) P(f(x, U) > b)

    where the latent value is a + b u, the probability is the distribution function of u, else the mean over
    128 equally likely values of it.
    """
    if isinstance(assignment, NoisyLabel):
        kept = probability_of_one(assignment.inner, inputs, noise)
        return assignment.label_noise + (1.0 - 2.0 * assignment.label_noise) * kept
    assert isinstance(assignment, Categorised)
    threshold = float(assignment.thresholds[0])
    latent = assignment.inner
    if not isinstance(latent, LocationScale):
        return np.mean(_over_noise(latent, inputs, noise) > threshold, axis=0)
    n = inputs.shape[1]
    location = latent(inputs, np.zeros(n))
    width = latent(inputs, np.ones(n)) - location
    with np.errstate(divide="ignore", invalid="ignore"):  # without noise the class is certain
        at = noise.cdf((threshold - location) / width)
    return np.where(width > 0, 1.0 - at, np.where(width < 0, at, location > threshold))


def _over_noise(assignment: Assignment, inputs: Array, noise: NoiseLaw) -> Array:
    """Values at equally likely values of the noise, (128, n)."""
    n = inputs.shape[1]
    u = noise.quantile((np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    if isinstance(assignment, Transformed) and isinstance(assignment.inner, LocationScale):
        # The function of the parents is evaluated once for all noise, instead of for each value as below.
        return assignment(inputs, np.broadcast_to(u[:, None], (_QUANTILES, n)))
    repeated = np.repeat(inputs, _QUANTILES, axis=1)
    return assignment(repeated, np.tile(u, n)).reshape(n, _QUANTILES).T
