"""The border that a user's table crosses once."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import column_or_1d, validate_data

from flatcausal.exceptions import DataError


def read_table(estimator: Any, X: Any) -> np.ndarray:
    """Return X as a finite float32 array of shape (n, p) with the names and width of the fit."""
    X = validate_data(estimator, X, reset=False, ensure_all_finite=False, dtype="numeric")
    return _as_float32(X, "X", getattr(estimator, "feature_names_in_", None))


def read_training_data(estimator: Any, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return X of shape (n, p), float32, and y of shape (n,), float64; names and width are recorded."""
    X, y = validate_data(
        estimator,
        X,
        y,
        ensure_all_finite=False,
        dtype="numeric",
        y_numeric=True,
        ensure_min_samples=2,
    )
    names = getattr(estimator, "feature_names_in_", None)
    return _as_float32(X, "X", names), read_target(y)


def read_target(y: Any) -> np.ndarray:
    """Return y as finite float64 of shape (n,): it is centred before it is rounded to float32."""
    y = np.asarray(column_or_1d(y, warn=True), dtype=np.float64)
    _check_finite(y[:, None], "y")
    return y


def _as_float32(values: np.ndarray, argument: str, names: np.ndarray | None = None) -> np.ndarray:
    with np.errstate(over="ignore"):
        converted = np.array(values, dtype=np.float32)
    _check_finite(converted, argument, names)
    return converted


def _check_finite(values: np.ndarray, argument: str, names: np.ndarray | None = None) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        what = "NaN" if np.isnan(values[row, column]) else "infinity or a value too large for float32"
        where = "" if argument == "y" else f", column {column if names is None else repr(names[column])}"
        raise DataError(
            f"Input {argument} contains {what} (row {row}{where}): drop such rows, or impute them, "
            f"for instance with sklearn.impute.SimpleImputer."
        )
