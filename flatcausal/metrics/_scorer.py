"""A scorer that carries the truth with it, for scikit-learn's searches and cross-validation."""

from __future__ import annotations

from typing import Any

from flatcausal._validation import check_choice
from flatcausal.exceptions import ParameterTypeError
from flatcausal.metrics._readout import aligned_importances
from flatcausal.metrics._report import METRICS
from flatcausal.metrics._roles import Roles, check_roles


class CausalScorer:
    """Score how well a fitted model's importances find the truth: ``scorer(estimator, X, y)``.

    An *oracle* score, since it needs the true graph: report it beside a predictive score and
    let a search refit on the predictive one. ``X`` and ``y`` are ignored; the importances come
    from the estimator that the fold fitted. Picklable, so it works with ``n_jobs``.

    Parameters
    ----------
    roles : Roles
        The features' roles, such as :class:`flatcausal.datasets.FeatureRoles`.
    metric : {"ap_lift", "auroc", "average_precision", "causal_mass"}
        What to compute.
    truth : str, default="parents"
        Which features are to be found: a name that ``roles.mask`` knows.

    Raises
    ------
    ParameterTypeError
        If roles or truth are an array: cross-validation slices arrays of length n_samples.
    ParameterError
        If metric or truth is unknown.

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

    def __init__(self, roles: Roles, metric: str, truth: str = "parents") -> None:
        self.roles = check_roles(roles)
        self.metric = check_choice("metric", metric, METRICS)
        if not isinstance(truth, str):
            raise ParameterTypeError(
                f"truth must be the name of a mask of the roles, got {type(truth).__name__}: "
                "an array would be sliced by cross-validation where n_features == n_samples; "
                "pass FeatureRoles and a name."
            )
        roles.mask(truth)  # an unknown name must fail here, not inside a search
        self.truth = truth

    def __call__(self, estimator: Any, X: Any = None, y: Any = None) -> float:
        """Return the metric of the estimator's importances against the truth."""
        importances = aligned_importances(estimator, self.roles.feature_names)
        return METRICS[self.metric](importances, self.roles.mask(self.truth))

    def _accept_sample_weight(self) -> bool:
        # scikit-learn's searches ask each of several scorers: weights of rows do not matter to importances.
        return False

    def __repr__(self) -> str:
        return f"CausalScorer(metric={self.metric!r}, truth={self.truth!r})"
