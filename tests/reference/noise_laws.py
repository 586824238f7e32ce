"""The noise laws by scipy.stats, and the two normals by root finding."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats
from scipy.optimize import brentq

_BETA = math.sqrt(6) / math.pi


class _TwoNormals:
    """Half N(-0.9, 0.19), half N(0.9, 0.19)."""

    halves = (stats.norm(-0.9, math.sqrt(0.19)), stats.norm(0.9, math.sqrt(0.19)))

    def cdf(self, u):
        return sum(half.cdf(u) for half in self.halves) / 2

    def ppf(self, p):
        roots = [brentq(lambda u, p=p: self.cdf(u) - p, -9.0, 9.0, xtol=1e-13) for p in np.atleast_1d(p)]
        return np.array(roots).reshape(np.shape(p))


LAWS = {
    "normal": stats.norm(),
    "laplace": stats.laplace(scale=math.sqrt(0.5)),
    "uniform": stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    "t": stats.t(5, scale=math.sqrt(0.6)),
    "gumbel": stats.gumbel_r(-np.euler_gamma * _BETA, _BETA),
    "mixture": _TwoNormals(),
}
