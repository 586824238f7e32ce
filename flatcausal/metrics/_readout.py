"""Read a fitted model's importances and align them with named features, through pipelines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from flatcausal.exceptions import FeatureAlignmentError, ParameterTypeError
from flatcausal.metrics._check import check_importances
from flatcausal.metrics._trace import trace

_ATTRIBUTES = ("causal_importances_", "feature_importances_")
_INNER = ("best_estimator_", "regressor_")  # of a search, and of a regressor with a transformed target


def aligned_importances(
    estimator: Any, feature_names: Sequence[str], *, importance: str = "auto"
) -> NDArray[np.float64]:
    """Importances of a fitted estimator in the order of ``feature_names``.

    They are aligned by name if the estimator has ``feature_names_in_``, else by position. In a pipeline the
    final step is read: columns that a selector dropped get 0, columns made of one feature (one-hot, splines,
    bins, indicators of missing values) are summed.

    Parameters
    ----------
    estimator : object
        A fitted estimator, a :class:`sklearn.pipeline.Pipeline` that ends in one, or a search over them.
    feature_names : sequence of str, length n_features
        The features that were passed to ``fit``, in the order wanted.
    importance : str, default="auto"
        The attribute to read. ``"auto"`` reads ``causal_importances_``, else ``feature_importances_``.
        Of ``"coef_"`` magnitudes are taken, summed over outputs: compare them only where features share
        one scale.

    Returns
    -------
    ndarray of float64, shape (n_features,)
        One importance for each name.

    Raises
    ------
    FeatureAlignmentError
        If names or numbers differ, or a pipeline's transformer mixes columns.
    ParameterTypeError
        If the estimator offers no importances.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.feature_selection import SelectKBest
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from flatcausal.metrics import aligned_importances
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> pipe = make_pipeline(SelectKBest(k=1), DecisionTreeRegressor(random_state=0)).fit(X, X[:, 1] > 0)
    >>> aligned_importances(pipe, ["a", "b", "c"])
    array([0., 1., 0.])
    """
    names = list(feature_names)
    values = _by_column(estimator, importance, len(names))
    seen = getattr(_first(estimator), "feature_names_in_", None)
    return in_order(values, seen, names, f"{type(estimator).__name__} was fitted on")


def measured_importances(
    measure: Callable[[Any, Any, Any], ArrayLike], estimator: Any, X: Any, y: Any, names: Sequence[str]
) -> NDArray[np.float64]:
    """Importances that ``measure(estimator, X, y)`` finds for the columns of X, in the order of ``names``."""
    if X is None or y is None:
        raise ParameterTypeError("X and y must be given where importances are measured on rows, got None.")
    check_is_fitted(estimator)
    values = check_importances(measure(estimator, X, y))
    columns = getattr(X, "columns", None)
    if columns is not None and not all(isinstance(name, str) for name in columns):
        columns = None  # numbered columns are positions, as scikit-learn has it
    return in_order(values, columns, list(names), "X has")


def _by_column(estimator: Any, importance: str, n_features: int) -> NDArray[np.float64]:
    """Importances in the order of the columns that the estimator was fitted on."""
    estimator = _unwrapped(estimator)
    if not isinstance(estimator, Pipeline):
        return check_importances(_read(estimator, importance))
    check_is_fitted(estimator)
    n_features = getattr(_first(estimator), "n_features_in_", n_features)
    sources = trace(estimator[:-1], n_features) if len(estimator) > 1 else range(n_features)
    values = _by_column(estimator[-1], importance, len(sources))
    if len(values) != len(sources):
        raise FeatureAlignmentError(
            f"{type(estimator[-1]).__name__} has {len(values)} importances but {len(sources)} columns "
            "reach it; use importance='permutation'."
        )
    summed = np.zeros(n_features)
    np.add.at(summed, list(sources), values)
    return summed


def _read(estimator: Any, importance: str) -> Any:
    attributes = _ATTRIBUTES if importance == "auto" else (importance,)
    for attribute in attributes:
        if hasattr(estimator, attribute):
            values = getattr(estimator, attribute)
            return np.abs(np.atleast_2d(values)).sum(axis=0) if attribute == "coef_" else values
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    kind = type(estimator).__name__
    lacks = f"neither {' nor '.join(attributes)}" if len(attributes) > 1 else f"no {importance}"
    raise ParameterTypeError(
        f"{kind} has {lacks}; name its attribute, as in importance='coef_', score with CausalScorer(..., "
        "importance='permutation'), or pass an importance array to causal_recovery_report."
    )


def _unwrapped(estimator: Any) -> Any:
    for attribute in _INNER:
        if hasattr(estimator, attribute):
            return _unwrapped(getattr(estimator, attribute))
    return estimator


def _first(estimator: Any) -> Any:
    """Return the estimator or step that saw the features themselves."""
    estimator = _unwrapped(estimator)
    if isinstance(estimator, Pipeline):
        parts = estimator.steps
    elif isinstance(estimator, FeatureUnion):
        parts = estimator.transformer_list
    else:
        return estimator
    return next((_first(part) for _, part in parts if not (part is None or isinstance(part, str))), None)


def in_order(values: NDArray[np.float64], seen: Any, names: list[str], has: str) -> NDArray[np.float64]:
    """Bring importances of the columns ``seen`` into the order of ``names``."""
    if len(values) != len(names):
        raise FeatureAlignmentError(
            f"{has} {len(values)} features but the roles name {len(names)}; use the same columns."
        )
    if seen is None:
        return values
    position = {name: index for index, name in enumerate(seen)}
    unknown = sorted(set(position) ^ set(names))
    if unknown:
        whose = has.partition(" ")[0]
        raise FeatureAlignmentError(
            f"{whose} and the roles do not share the feature {unknown[0]!r}; "
            "use the columns that the roles name."
        )
    return values[[position[name] for name in names]]
