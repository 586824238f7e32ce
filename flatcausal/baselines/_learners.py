"""Importances of scikit-learn's learners: impurity, and permutation on held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.inspection import permutation_importance
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flatcausal.baselines._seeds import integers
from flatcausal.baselines._table import Table

_HELD_OUT = 0.25
_N_REPEATS = 10

Score = Callable[[Table, np.random.SeedSequence], NDArray[np.float64]]


def _scaled_mlp(kind: Any, **options: Any) -> Any:
    network = make_pipeline(StandardScaler(), kind(alpha=3.0, max_iter=2000, **options))
    if kind is MLPClassifier:
        return network
    return TransformedTargetRegressor(network, transformer=StandardScaler())


#: Regressor and classifier, at scikit-learn's defaults; a perceptron with those overfits even 3000 rows.
LEARNERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "forest": (RandomForestRegressor, RandomForestClassifier),
    "boosting": (HistGradientBoostingRegressor, HistGradientBoostingClassifier),
    "mlp": (partial(_scaled_mlp, MLPRegressor), partial(_scaled_mlp, MLPClassifier)),
}


def impurity(learner: str) -> Score:
    """Mean decrease of impurity, on the rows that trees were grown on: all."""

    def score(table: Table, seeds: np.random.SeedSequence) -> NDArray[np.float64]:
        (seed,) = integers(seeds, 1)
        return _make(learner, table, seed).fit(table.X, table.y).feature_importances_

    return score


def permutation(learner: str) -> Score:
    """Rise of the held-out loss when a column is permuted; a fall counts as none."""

    def score(table: Table, seeds: np.random.SeedSequence) -> NDArray[np.float64]:
        split_seed, model_seed, permutation_seed = integers(seeds, 3)
        X, X_out, y, y_out = train_test_split(
            table.X,
            table.y,
            test_size=_HELD_OUT,
            random_state=split_seed,
            stratify=table.y if table.n_classes else None,
        )
        fitted = _make(learner, table, model_seed).fit(X, y)
        found: Any = permutation_importance(
            fitted,
            X_out,
            y_out,
            scoring=_minus_log_loss if table.n_classes else "neg_mean_squared_error",
            n_repeats=_N_REPEATS,
            random_state=permutation_seed,
        )
        return np.maximum(found.importances_mean, 0.0)

    return score


def _make(learner: str, table: Table, seed: int) -> Any:
    return LEARNERS[learner][int(table.n_classes > 0)](random_state=seed)


def _minus_log_loss(estimator: Any, X: Any, y: Any) -> float:
    return -log_loss(y, estimator.predict_proba(X), labels=estimator.classes_)  # some class may be held in
