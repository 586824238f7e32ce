"""Read a fitted model's importances and align them with named features, through pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from flatcausal.exceptions import FeatureAlignmentError, ParameterTypeError
from flatcausal.metrics._check import check_importances

_ATTRIBUTES = ("causal_importances_", "feature_importances_")


def aligned_importances(estimator: Any, feature_names: Sequence[str]) -> NDArray[np.float64]:
    """Importances of a fitted estimator in the order of ``feature_names``.

    Reads ``causal_importances_``, else ``feature_importances_``. They are aligned by name if the
    estimator has ``feature_names_in_``, else by position. In a pipeline the final step is read:
    columns that a selector dropped get 0, columns derived from one feature are summed.

    Parameters
    ----------
    estimator : object
        A fitted estimator, or a :class:`sklearn.pipeline.Pipeline` that ends in one.
    feature_names : sequence of str, length n_features
        The features that were passed to ``fit``, in the order wanted.

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
    if isinstance(estimator, Pipeline):
        check_is_fitted(estimator)
        return _through_pipeline(estimator, names)
    values = check_importances(_read(estimator))
    return _scatter(values, _names_seen(estimator, len(values), names), names)


def _read(estimator: Any) -> Any:
    for attribute in _ATTRIBUTES:
        if hasattr(estimator, attribute):
            return getattr(estimator, attribute)
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    raise ParameterTypeError(
        f"{type(estimator).__name__} has neither {' nor '.join(_ATTRIBUTES)}; "
        "score an estimator that offers importances, or pass an importance array to causal_recovery_report."
    )


def _names_seen(estimator: Any, n_seen: int, names: list[str]) -> list[str]:
    """Names of the columns that the estimator was fitted on, in its own order."""
    if n_seen != len(names):
        raise FeatureAlignmentError(
            f"{type(estimator).__name__} was fitted on {n_seen} features but the roles name {len(names)}; "
            "fit it on the same columns."
        )
    seen = getattr(estimator, "feature_names_in_", None)
    if seen is None:
        return names
    unknown = sorted(set(seen) ^ set(names))
    if unknown:
        raise FeatureAlignmentError(
            f"{type(estimator).__name__} and the roles do not share the feature {unknown[0]!r}; "
            "fit the estimator on the columns that the roles name."
        )
    return list(seen)


def _through_pipeline(pipeline: Pipeline, names: list[str]) -> NDArray[np.float64]:
    final = pipeline[-1]
    if len(pipeline.steps) == 1:
        return aligned_importances(final, names)
    transformer = pipeline[:-1]
    n_seen = getattr(transformer, "n_features_in_", len(names))
    seen = _names_seen(transformer, n_seen, names)
    try:
        kept = [str(name) for name in transformer.get_feature_names_out(seen)]  # pyright: ignore[reportOptionalIterable]
    except (AttributeError, ValueError) as error:
        raise FeatureAlignmentError(
            f"the columns behind {_describe(transformer)} cannot be traced to features ({error}); "
            "use transformers that implement get_feature_names_out."
        ) from error
    sources = [_source(name, seen, transformer) for name in kept]
    return _scatter(aligned_importances(final, kept), sources, names)


def _source(name: str, features: list[str], transformer: Pipeline) -> str:
    # ColumnTransformer and FeatureUnion prefix each name with their step's: "scale__x0".
    for candidate in (name, name.rpartition("__")[2]):
        if candidate in features:
            return candidate
    raise FeatureAlignmentError(
        f"{_describe(transformer)} mixes columns: its output {name!r} is none of the features, "
        "so that its importance belongs to no single one; score a pipeline whose steps keep columns apart."
    )


def _scatter(values: NDArray[np.float64], sources: list[str], names: list[str]) -> NDArray[np.float64]:
    position = {name: index for index, name in enumerate(names)}
    aligned = np.zeros(len(names))
    np.add.at(aligned, [position[source] for source in sources], values)
    return aligned


def _describe(transformer: Pipeline) -> str:
    return " -> ".join(type(step).__name__ for _, step in transformer.steps)
