"""How much of the causal order the data betray by variances and by R²."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Beyond this a correlation matrix is singular for all purposes, and inverting it says nothing.
_MAX_CONDITION = 1e10


def sortability(adjacency: NDArray, scores: Array) -> float:
    r"""Share of directed paths along which the score rises; ties count half, and no path gives nan.

    .. math::

        \frac{\sum_k \sum_{(i, j) \in A^k} ([s_i < s_j] + \frac{1}{2} [s_i = s_j])}{\sum_k |A^k|}

    where :math:`A^k` holds the pairs with a path of k edges from i to j (Reisach et al. 2021, 2023).
    """
    edges = (np.asarray(adjacency) != 0).astype(np.float32)
    rises = np.less.outer(scores, scores) + 0.5 * np.equal.outer(scores, scores)
    rising = n_paths = 0.0
    paths = edges
    while paths.any():
        n_paths += float(paths.sum(dtype=np.float64))
        rising += float((paths * rises).sum(dtype=np.float64))
        paths = (paths @ edges > 0).astype(np.float32)
    return rising / n_paths if n_paths else math.nan


def r2_scores(values: Array) -> Array:
    """R² of each column of (n, n_nodes) regressed on all others; a constant column has 0."""
    varying = values.std(axis=0) > 0
    scores = np.zeros(values.shape[1])
    if varying.sum() > 1:
        scores[varying] = _r2_scores(values[:, varying])
    return scores


def _r2_scores(values: Array) -> Array:
    correlation = np.corrcoef(values, rowvar=False)
    if np.linalg.cond(correlation) < _MAX_CONDITION:
        return np.asarray(1.0 - 1.0 / np.diag(np.linalg.inv(correlation)), dtype=np.float64)
    from sklearn.linear_model import LinearRegression  # takes a while to load, and is seldom needed

    scores = []
    for column in range(values.shape[1]):
        others = np.delete(values, column, axis=1)
        fitted = LinearRegression().fit(others, values[:, column])
        scores.append(fitted.score(others, values[:, column]))
    return np.array(scores)
