"""Exogenous noise, each kind with mean 0 and variance 1."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _laplace(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.laplace(scale=math.sqrt(0.5), size=shape)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.uniform(-math.sqrt(3.0), math.sqrt(3.0), size=shape)


NOISE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": _normal,
    "laplace": _laplace,
    "uniform": _uniform,
}
