"""Random Fourier features: smooth random functions at a cost that is linear in the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_WIDTH = 10
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class FourierFeatures:
    r"""A draw from a Gaussian process with kernel :math:`\exp(-|x - x'|^2 / 2 \ell^2)`, approximately.

    .. math:: f(x) = 2 / m \sum_{i,j=1}^{m} C_{ij} \cos(u_i \cdot x + a_i) \cos(v_j \cdot x + b_j)

    with m = 10, C standard normal, :math:`u, v \sim N(0, 1 / 2 \ell^2)`, uniform phases and
    :math:`\ell \sim U(0.7, 2) \sqrt{k}` for k parents. A Gaussian kernel is the product of two wider ones, so
    the 100 products are random features of it (Rahimi and Recht 2007) for the price of 20 cosines.

    ``frequencies`` holds u above v and ``phases`` a above b, both in turns.
    """

    frequencies: Array
    phases: Array
    weights: Array

    @classmethod
    def draw(cls, n_parents: int, rng: np.random.Generator) -> FourierFeatures:
        """Draw length scale, frequencies, phases and weights."""
        length = rng.uniform(0.7, 2.0) * math.sqrt(n_parents)
        radians = rng.normal(scale=math.sqrt(0.5) / length, size=(2 * _WIDTH, n_parents))
        return cls(
            frequencies=radians / (2 * np.pi),
            phases=rng.random((2 * _WIDTH, 1)),
            weights=rng.standard_normal((_WIDTH, _WIDTH)) * (2 / _WIDTH),
        )

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        values = np.empty(parents.shape[1])
        for start in range(0, len(values), _ROWS):  # what fits a core's cache
            rows = slice(start, start + _ROWS)
            waves = self.frequencies @ parents[:, rows]
            waves += self.phases
            waves = cosine(waves)
            right = self.weights @ waves[_WIDTH:]
            right *= waves[:_WIDTH]
            values[rows] = right.sum(axis=0)
        return values


def cosine(turns: Array) -> Array:
    r""":math:`\cos(2 \pi z)`, equal to ``np.cos(2 * np.pi * z)`` up to 1e-14; overwrites its argument.

    numpy's cosine of float64 takes three to four times as long. The argument is reduced to half a turn, and
    :math:`2 \cos^2(\pi z) - 1` read off a polynomial in z².
    """
    turns -= np.rint(turns)
    turns *= turns
    half = turns * _HALF_TURN[-1]
    for coefficient in _HALF_TURN[-2:0:-1]:
        half += coefficient
        half *= turns
    half += _HALF_TURN[0]
    half *= half
    half *= 2.0
    half -= 1.0
    return half


# cos(pi * sqrt(s)) for s in [0, 1/4], by powers of s; interpolated at Chebyshev's nodes.
_HALF_TURN: list[float] = (
    np.polynomial.Chebyshev.interpolate(lambda s: np.cos(np.pi * np.sqrt(s)), 7, domain=[0.0, 0.25])
    .convert(kind=np.polynomial.Polynomial)
    .coef.tolist()
)
