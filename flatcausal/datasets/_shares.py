r"""Shares of a node's variance: what one parent moves, and what its noise moves.

All are total Sobol indices by Jansen's estimator (1999),

.. math:: E[(f(x) - f(x^{(k)}))^2] / (2 \operatorname{Var} f(x))

where :math:`x^{(k)}` has input k replaced by an independent copy, under the parents' own joint law. Rows are
i.i.d., so the row above serves as the copy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from flatcausal.datasets._mechanisms import Mechanism

Array = NDArray[np.float64]


def moved_by(parent: int, function: Mechanism, parents: Array, base: Array) -> float:
    """Variance that one parent moves; ``base`` is the function's value at ``parents``."""
    copied = parents.copy()
    copied[parent] = np.roll(parents[parent], 1)
    return float(np.mean((base - function(copied)) ** 2)) / 2.0


def smallest_share(function: Mechanism, parents: Array) -> float:
    """Smallest share of the function's variance that any one parent moves."""
    base = function(parents)
    moved = [moved_by(parent, function, parents, base) for parent in range(len(parents))]
    return min(moved) / float(base.var())


def unexplained_share(function: Callable[[Array], Array], noise: Array) -> float:
    """Share of the variance that parents leave to the noise, E Var(x | parents) / Var x."""
    values = function(noise)
    moved = float(np.mean((values - function(np.roll(noise, 1))) ** 2)) / 2.0
    return moved / max(float(values.var()), np.finfo(np.float64).tiny)
