"""Scores that need no more than a line of algebra: correlation, Lasso, chance and the oracle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LassoCV
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from flatcausal.baselines._seeds import integers
from flatcausal.baselines._table import Table


def random(table: Table, seeds: np.random.SeedSequence) -> NDArray[np.float64]:
    """Uniform on the simplex, once normalised."""
    return np.random.default_rng(seeds).exponential(size=table.X.shape[1])


def correlation(table: Table, seeds: np.random.SeedSequence) -> NDArray[np.float64]:
    """Magnitude of Pearson's correlation; for classes the correlation ratio, which equals it for two."""
    centred = table.X - table.X.mean(axis=0)
    total = (centred**2).sum(axis=0)
    if table.n_classes:
        members = np.eye(table.n_classes)[table.y]
        explained = ((members.T @ centred) ** 2 / members.sum(axis=0)[:, None]).sum(axis=0)
    else:
        target = table.y - table.y.mean()
        explained = (target @ centred) ** 2 / (target @ target)
    varies = np.ptp(table.X, axis=0) > 0
    return np.sqrt(np.divide(explained, total, out=np.zeros_like(total), where=varies))


def lasso(table: Table, seeds: np.random.SeedSequence) -> NDArray[np.float64]:
    """Magnitudes of coefficients on standardised features, summed over the columns of the target."""
    X = StandardScaler().fit_transform(table.X)
    fold_seed, path_seed = integers(seeds, 2)
    folds = KFold(5, shuffle=True, random_state=fold_seed)  # rows may be sorted by environment
    # Without a seed it would advance numpy's global state, although it visits coefficients in turn.
    path = LassoCV(cv=folds, max_iter=5000, random_state=path_seed)
    return sum((np.abs(path.fit(X, target).coef_) for target in table.targets.T), np.zeros(X.shape[1]))


def oracle(truth: str) -> Callable[[Table, np.random.SeedSequence], NDArray[np.float64]]:
    """One for each feature of a truth."""
    return lambda table, seeds: table.mask(truth).astype(np.float64)
