"""Distribution functions of the noise, and their inverses, for what is exact about a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from flatcausal.datasets._noise import _DEGREES_OF_FREEDOM, _GUMBEL_SCALE, _MODE

Array = NDArray[np.float64]

_T_SCALE = math.sqrt((_DEGREES_OF_FREEDOM - 2) / _DEGREES_OF_FREEDOM)
_LAPLACE_SCALE = math.sqrt(0.5)
_HALF_WIDTH = math.sqrt(3.0)
_MODE_SCALE = math.sqrt(1.0 - _MODE**2)


@dataclass(frozen=True)
class NoiseLaw:
    """One of the laws in ``NOISE``, by name."""

    name: str

    def cdf(self, u: Array) -> Array:
        """P(U <= u)."""
        if self.name == "normal":
            return ndtr(u)
        if self.name == "laplace":
            tail = 0.5 * np.exp(-np.abs(u) / _LAPLACE_SCALE)
            return np.where(u < 0, tail, 1.0 - tail)
        if self.name == "uniform":
            return np.clip(0.5 + u / (2.0 * _HALF_WIDTH), 0.0, 1.0)
        if self.name == "t":
            return stdtr(_DEGREES_OF_FREEDOM, u / _T_SCALE)
        if self.name == "gumbel":
            with np.errstate(
                over="ignore", under="ignore"
            ):  # far below, the inner one is infinite and the outer one 0
                return np.exp(-np.exp(-(u / _GUMBEL_SCALE + np.euler_gamma)))
        return 0.5 * (ndtr((u - _MODE) / _MODE_SCALE) + ndtr((u + _MODE) / _MODE_SCALE))

    def quantile(self, p: Array) -> Array:
        """Return u with P(U <= u) = p, for p in (0, 1)."""
        if self.name == "normal":
            return ndtri(p)
        if self.name == "laplace":
            tail = np.log(2.0 * np.minimum(p, 1.0 - p))
            return _LAPLACE_SCALE * np.where(p < 0.5, tail, -tail)
        if self.name == "uniform":
            return _HALF_WIDTH * (2.0 * p - 1.0)
        if self.name == "t":
            return _T_SCALE * stdtrit(_DEGREES_OF_FREEDOM, p)
        if self.name == "gumbel":
            return -_GUMBEL_SCALE * (np.euler_gamma + np.log(-np.log(p)))
        return self._bisect(p)

    def _bisect(self, p: Array) -> Array:
        """Invert the distribution function where no formula does: between the modes' own quantiles."""
        low, high = (mode + _MODE_SCALE * ndtri(p) for mode in (-_MODE, _MODE))
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < p
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)
