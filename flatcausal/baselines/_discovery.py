"""Causal discovery by packages that exist: PC (causal-learn) and invariant causal prediction (causalicp)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flatcausal.baselines._scores import lasso
from flatcausal.baselines._table import Table
from flatcausal.exceptions import DataError

_ALPHA = 0.05
_MAX_CANDIDATES = 10  # invariant causal prediction tests every subset: 1024 of these


def pc_parents(table: Table, seeds: np.random.SeedSequence) -> NDArray[np.float64]:
    """1 for an edge into the target, 1/2 for an edge that the data cannot direct."""
    columns, parents, undirected = _pc(table)
    return _spread(table, columns, parents[-1, :-1] + undirected[-1, :-1] / 2)


def pc_markov_blanket(table: Table, seeds: np.random.SeedSequence) -> NDArray[np.float64]:
    """1 for parents, children and spouses: all graphs of one equivalence class agree on them."""
    columns, parents, undirected = _pc(table)
    children = parents[:, -1]
    blanket = parents[-1] | children | undirected[-1] | parents[children].any(axis=0)
    return _spread(table, columns, blanket[:-1].astype(np.float64))


def _pc(table: Table) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which columns vary; ``parents[i, j]``: j -> i; ``undirected[i, j]``. The target comes last."""
    from causallearn.search.ConstraintBased.PC import pc  # pyright: ignore[reportMissingImports]

    columns = np.flatnonzero(np.ptp(table.X, axis=0) > 0)
    data = np.column_stack([table.X[:, columns], table.targets])
    try:
        marks = pc(data, _ALPHA, "fisherz", show_progress=False).G.graph
    except (ValueError, np.linalg.LinAlgError) as error:
        raise DataError(
            f"PC cannot test partial correlations ({error}); drop columns that others determine."
        ) from error
    arrow, tail = marks == 1, marks == -1  # of the edge between i and j, the mark at i's end is [i, j]
    return columns, arrow & tail.T, tail & tail.T


def icp(table: Table, seeds: np.random.SeedSequence) -> NDArray[np.float64]:
    """1 for what every invariant set holds, among the features with the largest Lasso coefficients."""
    import causalicp  # pyright: ignore[reportMissingImports]

    codes = table.environments
    assert codes is not None
    strength = lasso(table, seeds)
    strongest = np.argsort(-strength, kind="stable")[:_MAX_CANDIDATES]
    candidates = strongest[strength[strongest] > 0]
    data = np.column_stack([table.X[:, candidates], table.y])
    data = (data - data.mean(axis=0)) / data.std(axis=0)
    environments = [data[codes == code] for code in np.unique(codes)]
    try:
        found = causalicp.fit(environments, len(candidates), alpha=_ALPHA).estimate
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"invariant causal prediction cannot regress ({error}); drop columns that others determine."
        ) from error
    return _spread(table, candidates[sorted(found or ())], 1.0)


def _spread(
    table: Table, columns: NDArray[np.intp], values: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    scores = np.zeros(table.X.shape[1])
    scores[columns] = values
    return scores
