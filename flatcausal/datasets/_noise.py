"""Exogenous noise, each kind with mean 0 and variance 1."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Heavy tails that still have a kurtosis, 9.
_DEGREES_OF_FREEDOM = 5
_GUMBEL_SCALE = math.sqrt(6.0) / math.pi
# Two bells that stand apart: modes at ±0.9.
_MODE = 0.9


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _laplace(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.laplace(scale=math.sqrt(0.5), size=shape)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.uniform(-math.sqrt(3.0), math.sqrt(3.0), size=shape)


def _t(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    variance = _DEGREES_OF_FREEDOM / (_DEGREES_OF_FREEDOM - 2)
    return rng.standard_t(_DEGREES_OF_FREEDOM, shape) / math.sqrt(variance)


def _gumbel(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.gumbel(-np.euler_gamma * _GUMBEL_SCALE, _GUMBEL_SCALE, shape)


def _mixture(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    modes = rng.choice([-_MODE, _MODE], shape)
    return modes + math.sqrt(1.0 - _MODE**2) * rng.standard_normal(shape)


NOISE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": _normal,
    "laplace": _laplace,
    "uniform": _uniform,
    "t": _t,
    "gumbel": _gumbel,
    "mixture": _mixture,
}
