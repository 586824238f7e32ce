"""Comparison with the causal oracle: the same learner on the true causes alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from flatcausal.exceptions import FeatureAlignmentError, ParameterError
from flatcausal.metrics._risk import Environments, RiskFunction, Rows, check_risk
from flatcausal.metrics._robustness import worst_case_risk
from flatcausal.metrics._roles import Roles, check_roles


def causal_oracle(estimator: Any, roles: Roles, truth: str = "parents") -> Pipeline:
    """Make the same learner that sees only the true causes, yet takes all columns.

    Parameters
    ----------
    estimator : object
        A scikit-learn estimator; it is cloned.
    roles : Roles
        The features' roles, such as :class:`flatcausal.datasets.FeatureRoles`.
    truth : str, default="parents"
        Which features to keep: a name that ``roles.mask`` knows.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Unfitted. Columns are kept by name in a frame, else by position.

    Raises
    ------
    ParameterTypeError
        If roles are a bare array.
    ParameterError
        If truth is unknown or holds no feature.

    Examples
    --------
    A chain ``a -> b -> y -> c <- d`` and a distractor ``e``, of which the oracle sees ``b``:

    >>> import networkx as nx, numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from flatcausal.datasets import FeatureRoles
    >>> from flatcausal.metrics import causal_oracle
    >>> graph = nx.DiGraph([("a", "b"), ("b", "y"), ("y", "c"), ("d", "c")])
    >>> roles = FeatureRoles.from_graph(graph, "y", ["a", "b", "c", "d", "e"])
    >>> X = np.random.default_rng(0).normal(size=(20, 5))
    >>> oracle = causal_oracle(LinearRegression(), roles).fit(X, 2 * X[:, 1] + X[:, 2])
    >>> oracle[-1].coef_.shape
    (1,)
    """
    kept = check_roles(roles).mask(truth)
    if not kept.any():
        raise ParameterError(f"truth {truth!r} holds no feature, so that there is nothing to fit on.")
    keep = _KeepFeatures(tuple(roles.feature_names), tuple(int(index) for index in np.flatnonzero(kept)))
    return Pipeline([("keep", keep), ("estimator", clone(estimator))])


def excess_over_oracle(
    estimator: Any, oracle: Any, environments: Environments, *, risk: str | RiskFunction = "auto"
) -> float:
    r"""How much worse the worst environment is for a model than for the causal oracle.

    .. math:: \max_e R_e(f) - \max_e R_e(f_{pa})

    Parameters
    ----------
    estimator : object
        The fitted model :math:`f`.
    oracle : object
        The fitted causal oracle :math:`f_{pa}`, as `causal_oracle` makes it.
    environments : mapping of str to pair (X, y), or iterable of pairs
        Held-out rows of each environment, with all columns.
    risk : {"auto", "mse", "log_loss", "error"} or callable, default="auto"
        As for `worst_case_risk`.

    Returns
    -------
    float
        Lower is better; above 0 the model loses by what it takes from features that are no causes.

    Raises
    ------
    ParameterError, ParameterTypeError, DataError
        As for `worst_case_risk`.

    Examples
    --------
    Two constant models on five targets, in two environments:

    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from flatcausal.metrics import excess_over_oracle
    >>> X, y = np.zeros((5, 1)), np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    >>> zero, one = (DummyRegressor(strategy="constant", constant=c).fit(X, y) for c in (0.0, 1.0))
    >>> excess_over_oracle(one, zero, [(X, y), (X, y - 1)])
    3.0
    """
    environments = environments if hasattr(environments, "items") else list(environments)
    measure = check_risk(risk, estimator)
    name = risk if callable(risk) else measure.name  # one risk for both, whatever kind the oracle is
    worst = [worst_case_risk(model, environments, risk=name).worst for model in (estimator, oracle)]
    return worst[0] - worst[1]


def price_of_causality(estimator: Any, oracle: Any, iid: Rows, *, risk: str | RiskFunction = "auto") -> float:
    r"""How much the causal oracle gives away where nothing shifts.

    .. math:: R_0(f_{pa}) - R_0(f)

    Parameters
    ----------
    estimator : object
        The fitted model :math:`f`.
    oracle : object
        The fitted causal oracle :math:`f_{pa}`, as `causal_oracle` makes it.
    iid : pair (X, y)
        Held-out rows of the training distribution, with all columns.
    risk : {"auto", "mse", "log_loss", "error"} or callable, default="auto"
        As for `worst_case_risk`.

    Returns
    -------
    float
        Above 0 where features that are no causes help to predict.

    Raises
    ------
    ParameterError, ParameterTypeError, DataError
        As for `worst_case_risk`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from flatcausal.metrics import price_of_causality
    >>> X, y = np.zeros((5, 1)), np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    >>> zero, one = (DummyRegressor(strategy="constant", constant=c).fit(X, y) for c in (0.0, 1.0))
    >>> price_of_causality(zero, one, (X, y))
    1.0
    """
    return -excess_over_oracle(estimator, oracle, {"iid": iid}, risk=risk)


class _KeepFeatures(TransformerMixin, BaseEstimator):
    """Keep some of the named features: by name in a frame, else by position."""

    def __init__(self, feature_names: tuple[str, ...], kept: tuple[int, ...]) -> None:
        self.feature_names = feature_names
        self.kept = kept

    def fit(self, X: Any, y: Any = None) -> _KeepFeatures:
        validate_data(self, X, skip_check_array=True)
        n_columns: int = self.n_features_in_  # pyright: ignore[reportAttributeAccessIssue]
        seen = list(getattr(self, "feature_names_in_", self.feature_names))
        if n_columns != len(self.feature_names) or set(seen) != set(self.feature_names):
            raise FeatureAlignmentError(
                f"the {n_columns} columns of X are not the {len(self.feature_names)} features "
                "that the roles name; fit the oracle on those."
            )
        self.positions_ = sorted(seen.index(self.feature_names[index]) for index in self.kept)
        return self

    def transform(self, X: Any) -> Any:
        check_is_fitted(self)
        validate_data(self, X, reset=False, skip_check_array=True)
        return X.iloc[:, self.positions_] if hasattr(X, "iloc") else np.asarray(X)[:, self.positions_]

    def get_support(self) -> NDArray[np.bool_]:
        return np.isin(np.arange(len(self.feature_names)), self.positions_)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        seen = getattr(self, "feature_names_in_", self.feature_names)
        return np.array([seen[position] for position in self.positions_], dtype=object)
