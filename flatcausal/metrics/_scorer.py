"""A scorer that carries the truth with it, for scikit-learn's searches and cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal._validation import check_choice, check_integer
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.metrics._readout import aligned_importances, measured_importances
from flatcausal.metrics._report import METRICS
from flatcausal.metrics._roles import Roles, check_roles

_AT_K = ("precision_at_k", "recall_at_k")
_SLICED = "an array would be sliced by cross-validation where n_features == n_samples"


class CausalScorer:
    """Score how well a fitted model's importances find the truth: ``scorer(estimator, X, y)``.

    An *oracle* score, since it needs the true graph: report it beside a predictive score and
    let a search refit on the predictive one. The importances come from the estimator that the fold
    fitted, aligned with the roles as :func:`aligned_importances` describes. Picklable, so it works with
    ``n_jobs``.

    Parameters
    ----------
    roles : Roles
        The features' roles, such as :class:`flatcausal.datasets.FeatureRoles`.
    metric : str
        ``"ap_lift"``, ``"auroc"``, ``"average_precision"``, ``"causal_mass"``, ``"mass_lift"``,
        ``"precision_at_k"`` or ``"recall_at_k"``.
    truth : str, default="parents"
        Which features are to be found: a name that ``roles.mask`` knows.
    importance : str or callable, default="auto"
        ``"auto"`` or an attribute to read, as for :func:`aligned_importances`; X and y are then ignored.
        ``"permutation"``: the fall of the estimator's score on the rows given when a column is permuted,
        mean of five fixed permutations; works for any estimator and through any pipeline. A callable
        ``importance(estimator, X, y)`` returns one number for each column of X.
    k : int, default=None
        For ``"precision_at_k"`` and ``"recall_at_k"``. None means as many as are true.

    Raises
    ------
    ParameterTypeError
        If roles or truth are an array: cross-validation slices arrays of length n_samples.
    ParameterError
        If metric or truth is unknown, or k is out of range or without use.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from sklearn.model_selection import cross_validate
    >>> from flatcausal.datasets import SyntheticDAGDataset
    >>> from flatcausal.metrics import CausalScorer
    >>> ds = SyntheticDAGDataset(n_nodes=6, n_distractors=2, random_state=0)
    >>> X, y = ds.sample(200, return_X_y=True)
    >>> scoring = {"r2": "r2", "oracle": CausalScorer(ds.roles_, "auroc")}
    >>> forest = RandomForestRegressor(n_estimators=10, random_state=0)
    >>> result = cross_validate(forest, X, y, cv=2, scoring=scoring)
    >>> bool((result["test_oracle"] > 0.5).all())
    True
    """

    def __init__(
        self,
        roles: Roles,
        metric: str,
        truth: str = "parents",
        importance: str | Callable[[Any, Any, Any], ArrayLike] = "auto",
        k: int | None = None,
    ) -> None:
        self.roles = check_roles(roles)
        self.metric = check_choice("metric", metric, METRICS)
        if not isinstance(truth, str):
            raise ParameterTypeError(
                f"truth must be the name of a mask of the roles, got {type(truth).__name__}: "
                f"{_SLICED}; pass FeatureRoles and a name."
            )
        roles.mask(truth)  # an unknown name must fail here, not inside a search
        self.truth = truth
        if not isinstance(importance, str) and not callable(importance):
            raise ParameterTypeError(
                f"importance must be a name or a callable, got {type(importance).__name__}; "
                "score an array of importances with causal_recovery_report."
            )
        self.importance = importance
        if k is not None and metric not in _AT_K:
            raise ParameterError(f"k is for {' and '.join(_AT_K)}, got k={k} for {metric!r}; leave it out.")
        self.k = None if k is None else check_integer("k", k, low=1)

    def __call__(self, estimator: Any, X: Any = None, y: Any = None, **metadata: Any) -> float:
        """Return the metric of the estimator's importances against the truth."""
        if metadata:
            self._refuse(metadata)
        options = {} if self.k is None else {"k": self.k}
        return METRICS[self.metric](
            self._importances(estimator, X, y), self.roles.mask(self.truth), **options
        )

    def _importances(self, estimator: Any, X: Any, y: Any) -> NDArray[np.float64]:
        names = self.roles.feature_names
        if callable(self.importance):
            return measured_importances(self.importance, estimator, X, y, names)
        if self.importance == "permutation":
            return measured_importances(_permutation, estimator, X, y, names)
        return aligned_importances(estimator, names, importance=self.importance)

    def set_score_request(self, **requests: Any) -> NoReturn:
        """Refuse metadata routing: the truth travels in the scorer.

        Raises
        ------
        ParameterTypeError
            Always.
        """
        self._refuse(requests)

    @staticmethod
    def _refuse(metadata: dict[str, Any]) -> NoReturn:
        raise ParameterTypeError(
            f"CausalScorer takes no metadata, got {', '.join(map(repr, metadata)) or 'a request'}: "
            f"{_SLICED}, and could not be aligned by name; pass the truth as CausalScorer(roles, ...)."
        )

    def _accept_sample_weight(self) -> bool:
        # scikit-learn's searches ask each of several scorers: weights of rows do not matter to importances.
        return False

    def __repr__(self) -> str:
        options = {"importance": (self.importance, "auto"), "k": (self.k, None)}
        changed = [f", {name}={value!r}" for name, (value, default) in options.items() if value != default]
        return f"CausalScorer(metric={self.metric!r}, truth={self.truth!r}{''.join(changed)})"


def _permutation(estimator: Any, X: Any, y: Any) -> NDArray[np.float64]:
    from sklearn.inspection import permutation_importance  # slow to load, and seldom asked for

    found: Any = permutation_importance(estimator, X, y, n_repeats=5, random_state=0)
    return found.importances_mean
