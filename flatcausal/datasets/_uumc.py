"""Linear assignments drawn uniformly with unit marginal variances (UUMC)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flatcausal._random import child
from flatcausal.datasets._assignments import LocationScale
from flatcausal.datasets._fit import MAX_DRAWS, no_mechanism, required_share
from flatcausal.datasets._functions import Linear
from flatcausal.datasets._graph_laws import Adjacency

Array = NDArray[np.float64]


def draw_uumc(adjacency: Adjacency, sequence: np.random.SeedSequence) -> tuple[LocationScale, ...]:
    """Draw linear assignments after which every node has variance 1, exactly.

    The covariance of the nodes is carried along, so that nothing is estimated from rows.
    """
    covariance = np.eye(len(adjacency))
    assignments = []
    for node in range(len(adjacency)):
        parents = np.flatnonzero(adjacency[:, node])
        if not parents.size:
            assignments.append(LocationScale((), None))
            continue
        among = covariance[np.ix_(parents, parents)]
        weights, noise_scale = _draw_weights(node, among, np.random.default_rng(child(sequence, node, 0)))
        with_earlier = weights @ covariance[parents, :node]
        covariance[node, :node] = covariance[:node, node] = with_earlier
        assignments.append(LocationScale(tuple(map(int, parents)), Linear(weights), noise_scale=noise_scale))
    return tuple(assignments)


def _draw_weights(node: int, correlation: Array, rng: np.random.Generator) -> tuple[Array, float]:
    r"""Weights a and noise scale s with :math:`a^T R a + s^2 = 1`, uniform as in UUMC.

    .. math:: a' \sim N(0, I),\ r = U^{1/P},\ C^2 = r^2 a'^T R a' + (1 - r^2) |a'|^2,\
              a = r a' / C,\ s^2 = (1 - r^2) |a'|^2 / C^2

    Weights of parents that would not move their share of the variance that all explain are drawn again.
    """
    n_parents = len(correlation)
    drawn = rng.standard_normal(n_parents)
    for _ in range(MAX_DRAWS):
        signal = drawn @ correlation @ drawn
        idle = drawn**2 < required_share(n_parents) * signal
        if not idle.any():
            break
        drawn[idle] = rng.standard_normal(idle.sum())
    else:
        raise no_mechanism(node, n_parents)
    radius = rng.random() ** (1 / n_parents)
    rest = (1.0 - radius**2) * (drawn @ drawn)
    scale = math.sqrt(radius**2 * signal + rest)
    return radius * drawn / scale, math.sqrt(rest) / scale
