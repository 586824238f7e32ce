"""The border that a user's table crosses once."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d, validate_data

from flatcausal.estimators._categories import Categories, with_codes
from flatcausal.exceptions import DataError, FlatCausalError, ParameterTypeError


@contextmanager
def naming(argument: str, table: Any = None) -> Iterator[None]:
    """Let others' complaints about an argument name it, and the column of ``table`` at fault."""
    try:
        yield
    except FlatCausalError:
        raise
    except ValueError as error:
        raise DataError(f"{argument} cannot be used: {error}{_culprit(table)}") from error
    except TypeError as error:
        raise ParameterTypeError(f"{argument} cannot be used: {error}{_culprit(table)}") from error


def _culprit(table: Any) -> str:
    """Name the first column that cannot be read as numbers, if it is a column's fault."""
    is_frame = isinstance(table, pd.DataFrame)
    if not (is_frame or isinstance(table, np.ndarray)) or table.ndim != 2 or not len(table):
        return ""
    for i, name in enumerate(table.columns if is_frame else range(table.shape[1])):
        column = table.iloc[:, i] if is_frame else table[:, i]
        try:
            _numbers(column, ensure_2d=False)
        except (ValueError, TypeError):
            return f" (column {name!r} of X; encode it, or name it in categorical_features)"
    return ""


def _numbers(values: Any, **checks: Any) -> np.ndarray:
    """Return an array of real numbers, finite or not."""
    array = check_array(values, ensure_all_finite=False, dtype="numeric", **checks)
    _check_kind(array)
    return array


def _check_kind(array: np.ndarray) -> None:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"values of dtype {array.dtype} are not numbers")


def read_features(
    estimator: Any, X: Any, categories: Categories, *, reset: bool, min_rows: int = 1
) -> np.ndarray:
    """Return X as a finite float32 array of shape (n, p); categories become codes, an unseen one -1.

    With ``reset`` the estimator takes note of names and width; otherwise X must agree with them.
    """
    if isinstance(X, pd.DataFrame) and X.shape[1] == 0:
        raise DataError("X has 0 feature(s): pass a table with at least one column.")
    with naming("X"):
        coded = with_codes(X, categories)
    with naming("X", coded):
        values: Any = validate_data(
            estimator,
            coded,
            reset=reset,
            ensure_all_finite=False,
            dtype="numeric",
            ensure_min_samples=min_rows,
        )
        _check_kind(values)
    return _as_float32(values, getattr(estimator, "feature_names_in_", None))


def _as_float32(values: np.ndarray, names: np.ndarray | None) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.array(values, dtype=np.float32)
        total = converted.sum(dtype=np.float64)  # one pass without a mask of the size of X
    if not np.isfinite(total):
        _refuse(converted, "X", names)
    return converted


def read_numbers(y: Any) -> np.ndarray:
    """Return targets as finite float64, (n,) or (n, n_targets): they are centred before they are rounded."""
    with naming("y"):
        y = _numbers(y, ensure_2d=False, input_name="y")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
    y = np.asarray(y, dtype=np.float64)
    _check_range(y, "y")  # no prediction could reach what is beyond
    return y


def read_labels(y: Any, argument: str = "y") -> np.ndarray:
    """Return class labels of shape (n,): none missing, and all of one kind."""
    with naming(argument):
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "f":
            _check_range(y, argument)
        missing = pd.isna(y)
        if missing.any():
            raise DataError(
                f"Input {argument} contains a missing label (row {missing.argmax()}): drop such rows."
            )
        np.unique(y)  # fails where labels have no order
        check_classification_targets(y)
    return y


def check_lengths(X: Sized, y: Sized) -> None:
    """Refuse a target that has not one entry for each row."""
    if len(X) != len(y):
        raise DataError(f"y has {len(y)} rows, but X has {len(X)}: pass one target for each row.")


def read_weights(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Return weights as float64 of shape (n,), the largest 1; they must be finite and not negative."""
    with naming("sample_weight"):
        weight = _numbers(sample_weight, ensure_2d=False, allow_nd=True).astype(np.float64)
    if weight.shape != (n_rows,):
        raise DataError(
            f"sample_weight must have shape ({n_rows},) as X has {n_rows} rows, got {weight.shape}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        row = int(np.argmax(~np.isfinite(weight) | (weight < 0)))
        raise DataError(f"sample_weight must be finite and not negative, got {weight[row]} (row {row}).")
    if not weight.any():
        raise DataError("sample_weight is zero for every row: give at least two rows a positive weight.")
    return weight / weight.max()  # so that no sum overflows


def _check_range(y: np.ndarray, argument: str) -> None:
    with np.errstate(over="ignore"):
        rounded = y.astype(np.float32)
    if not np.isfinite(rounded).all():
        _refuse(rounded.reshape(len(y), -1), argument, None)


def _refuse(values: np.ndarray, argument: str, names: np.ndarray | None) -> None:
    row, column = np.argwhere(~np.isfinite(values))[0]
    what = "NaN" if np.isnan(values[row, column]) else "infinity or a value too large for float32"
    one_column = argument != "X" and values.shape[1] == 1
    where = "" if one_column else f", column {column if names is None else repr(names[column])}"
    raise DataError(
        f"Input {argument} contains {what} (row {row}{where}): drop such rows, or impute them, "
        f"for instance with sklearn.impute.SimpleImputer."
    )
