"""Categorical columns of a user's table, and their codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from flatcausal.exceptions import DataError, ParameterError

Categories = Mapping[int, np.ndarray]


def find_categories(X: Any, categorical_features: Any) -> dict[int, np.ndarray]:
    """Values that occur in each categorical column of X, sorted, by the column's position.

    Parameters
    ----------
    X : array-like of shape (n, p)
    categorical_features : "from_dtype", iterable of str, int or bool, or None
        The estimator's parameter.

    Raises
    ------
    ParameterError
        If it names a column that X does not have.
    """
    if categorical_features is None:
        return {}
    if isinstance(categorical_features, str) and categorical_features == "from_dtype":
        dtypes = X.dtypes if isinstance(X, pd.DataFrame) else []
        found = [i for i, dtype in enumerate(dtypes) if isinstance(dtype, pd.CategoricalDtype)]
    else:
        found = _positions(X, categorical_features)
    return {i: np.asarray(pd.Categorical(_column(X, i)).categories) for i in found}


def _positions(X: Any, categorical_features: Any) -> list[int]:
    if isinstance(categorical_features, (str, Mapping)) or not isinstance(categorical_features, Iterable):
        raise ParameterError(
            f"categorical_features must be 'from_dtype', None or a list of columns, "
            f"got {categorical_features!r}."
        )
    names = list(X.columns) if isinstance(X, pd.DataFrame) else []
    n_columns = len(names) or (*np.shape(X), 0, 0)[1]
    chosen = list(categorical_features)
    if all(isinstance(c, (bool, np.bool_)) for c in chosen) and len(chosen) == n_columns:
        return [i for i, is_categorical in enumerate(chosen) if is_categorical]
    return sorted({_position(c, names, n_columns) for c in chosen})


def _position(column: Any, names: list[Any], n_columns: int) -> int:
    if isinstance(column, str) and column in names:
        return names.index(column)
    if isinstance(column, (int, np.integer)) and not isinstance(column, bool) and 0 <= column < n_columns:
        return int(column)
    raise ParameterError(
        f"categorical_features names {column!r}, which is none of the {n_columns} columns of X."
    )


def with_codes(X: Any, categories: Categories) -> Any:
    """X with categories replaced by their codes, an unseen one by -1; the caller's X stays as it is."""
    if not categories or np.ndim(X) != 2 or np.shape(X)[1] <= max(categories):
        return X  # if it is wrong, that is said later
    if isinstance(X, pd.DataFrame):
        frame = X.copy(deep=False)
        for i, values in categories.items():
            frame.isetitem(i, _codes(_column(X, i), values, X.columns[i]))
        return frame
    table = X if isinstance(X, np.ndarray) else np.asarray(X, dtype=object)
    is_numeric = table.dtype.kind in "biuf"
    coded = table.astype(np.result_type(table, np.float32) if is_numeric else object)
    for i, values in categories.items():
        coded[:, i] = _codes(_column(X, i), values, i)
    return coded


def _codes(column: np.ndarray, values: np.ndarray, name: Any) -> np.ndarray:
    missing = pd.isna(column)
    if missing.any():
        raise DataError(
            f"Input X contains a missing category (row {missing.argmax()}, column {name!r}): "
            f"drop such rows, or give missing values a category of their own."
        )
    return pd.Index(values, tupleize_cols=False).get_indexer(pd.Index(column, tupleize_cols=False))


def _column(X: Any, position: int) -> np.ndarray:
    """A column by its values: an unused category, or the order of a dtype's categories, does not matter."""
    if isinstance(X, pd.DataFrame):
        return np.asarray(X.iloc[:, position])
    table = X if isinstance(X, np.ndarray) else np.asarray(X, dtype=object)  # text would swallow numbers
    return table[:, position]


def drop_unused(features: np.ndarray, categories: Categories) -> dict[int, np.ndarray]:
    """Keep the categories that occur in ``features``, whose codes are renumbered in place."""
    kept = {}
    for i, values in categories.items():
        used, codes = np.unique(features[:, i].astype(np.intp), return_inverse=True)
        features[:, i] = codes
        kept[i] = values[used]
    return kept
