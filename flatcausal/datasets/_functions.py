"""Families of functions of shape (n_parents, n) -> (n,), fixed once drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Linear:
    """f(x) = w . x with weights in ±[0.5, 1.5]."""

    weights: Array

    @classmethod
    def draw(cls, n_parents: int, rng: np.random.Generator) -> Linear:
        """Draw the weights."""
        return cls(rng.choice([-1.0, 1.0], n_parents) * rng.uniform(0.5, 1.5, n_parents))

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        return self.weights @ parents


@dataclass(frozen=True, eq=False)
class MLP:
    """f(x) = v . tanh(W x + b), one hidden layer of 10 to 32 units, W ~ N(0, 4 / n_parents)."""

    hidden: Array
    bias: Array
    output: Array

    @classmethod
    def draw(cls, n_parents: int, rng: np.random.Generator) -> MLP:
        """Draw width and weights."""
        width = int(rng.integers(10, 33))
        return cls(
            hidden=rng.normal(scale=2.0 / np.sqrt(n_parents), size=(width, n_parents)),
            bias=rng.normal(size=(width, 1)),
            output=rng.normal(size=width),
        )

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        units = self.hidden @ parents
        units += self.bias
        return self.output @ np.tanh(units, out=units)


_RIDGES = 4
_WINSORISED = 3.0


@dataclass(frozen=True, eq=False)
class Polynomial:
    r"""Cubic in four random directions of unit length, bounded by winsorising them at ±3.

    .. math:: f(x) = \sum_{i=1}^{4} \sum_{d=1}^{3} c_{id}\, \mathrm{He}_d(z_i) / \sqrt{d!},\
              z_i = \operatorname{clip}(w_i \cdot x, -3, 3)

    Hermite's polynomials have variance 1 under a standard normal, so that no power drowns the others.
    """

    directions: Array
    coefficients: Array

    @classmethod
    def draw(cls, n_parents: int, rng: np.random.Generator) -> Polynomial:
        """Draw directions and coefficients."""
        return cls(_directions(_RIDGES, n_parents, rng), rng.standard_normal((3, _RIDGES)))

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        z = self.directions @ parents
        np.clip(z, -_WINSORISED, _WINSORISED, out=z)
        square = z * z
        linear, quadratic, cubic = self.coefficients
        values = linear @ z
        values += (quadratic / math.sqrt(2.0)) @ (square - 1.0)
        square -= 3.0
        square *= z
        values += (cubic / math.sqrt(6.0)) @ square
        return values


@dataclass(frozen=True, eq=False)
class Tree:
    """A complete oblique tree of depth 2 to 4: unit directions, thresholds N(0, 1/2), normal leaves.

    Leaves are quantiles of N(0, 1) in random order: no two can be nearly equal and leave all variance to
    rare cells. The children of split s are 2 s + 1, taken where its direction is below the threshold, and
    2 s + 2; leaves follow the splits.
    """

    directions: Array
    thresholds: Array
    leaves: Array

    @classmethod
    def draw(cls, n_parents: int, rng: np.random.Generator) -> Tree:
        """Draw depth, splits and leaves."""
        n_leaves = 2 ** int(rng.integers(2, 5))
        return cls(
            directions=_directions(n_leaves - 1, n_parents, rng),
            thresholds=rng.normal(scale=math.sqrt(0.5), size=(n_leaves - 1, 1)),
            leaves=ndtri(rng.permutation((np.arange(n_leaves) + 0.5) / n_leaves)),
        )

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        above = self.directions @ parents > self.thresholds
        rows = np.arange(parents.shape[1])
        position = np.zeros(len(rows), dtype=np.intp)
        for _ in range(len(self.leaves).bit_length() - 1):
            position += position + 1 + above[position, rows]
        return self.leaves[position - len(self.thresholds)]


def _directions(count: int, n_parents: int, rng: np.random.Generator) -> Array:
    drawn = rng.standard_normal((count, n_parents))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
