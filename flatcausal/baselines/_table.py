"""The border: rows, target, roles and environments become clean arrays, or an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from flatcausal._validation import check_choice
from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterTypeError
from flatcausal.metrics import Roles

# So many that each of five folds and the held-out quarter hold some rows, and some of each class.
_MIN_ROWS = 20
_MIN_CLASS = 5
_MIN_ENVIRONMENT = 10


@dataclass(frozen=True)
class Table:
    """Checked rows. ``y`` holds numbers, or codes of ``n_classes`` classes (0: numbers)."""

    X: NDArray[np.float64]
    y: NDArray[Any]
    names: list[Any]
    n_classes: int = 0
    roles: Roles | None = None
    environments: NDArray[np.intp] | None = None

    def has(self, argument: str) -> bool:
        """Whether an argument was given; the empty name is."""
        return not argument or getattr(self, argument) is not None

    @property
    def targets(self) -> NDArray[np.float64]:
        """The target as columns of numbers: itself, or one 0/1 column for each class, for two the second."""
        if not self.n_classes:
            return self.y[:, None]
        return np.eye(self.n_classes)[self.y][:, int(self.n_classes == 2) :]

    def mask(self, truth: str) -> NDArray[np.bool_]:
        """Which columns belong to a truth; in a frame they are found by name."""
        assert self.roles is not None
        by_name = dict(zip(self.roles.feature_names, self.roles.mask(truth), strict=True))
        return np.array([by_name[name] for name in self.names])


def check_table(X: Any, y: ArrayLike, task: str, roles: Roles | None, environments: Any) -> Table:
    """Check all arguments that speak of rows or columns."""
    values, names = _check_features(X)
    target, n_classes = _check_target(y, len(values), check_choice("task", task, ("auto", *_TASKS)))
    if roles is not None:
        names = _check_roles(roles, names, values.shape[1])
    if names is None:
        names = [f"x{position}" for position in range(values.shape[1])]
    if environments is not None:
        environments = _check_environments(environments, len(values))
    return Table(values, target, names, n_classes, roles, environments)


_TASKS = ("regression", "classification")


def _check_features(X: Any) -> tuple[NDArray[np.float64], list[Any] | None]:
    names = list(X.columns) if isinstance(X, pd.DataFrame) else None
    if names is not None:
        for name, dtype in zip(names, X.dtypes, strict=True):
            if not pd.api.types.is_numeric_dtype(dtype):
                raise DataError(f"column {name!r} of X holds {dtype}, not numbers; encode it or drop it.")
            if names.count(name) > 1:
                raise DataError(f"X has two columns named {name!r}; rename one.")
    try:
        values = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"X must hold numbers ({error}); encode its columns or drop them.") from error
    if values.ndim != 2 or values.shape[0] < _MIN_ROWS or values.shape[1] < 1:
        raise DataError(
            f"X must have shape (n_samples, n_features) with at least {_MIN_ROWS} rows, got {values.shape}."
        )
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        row, column = bad[0]
        where = column if names is None else repr(names[column])
        raise DataError(
            f"X holds {values[row, column]} in column {where}, row {row}; fill it or drop the row."
        )
    return values, names


def _check_target(y: ArrayLike, n_rows: int, task: str) -> tuple[NDArray[Any], int]:
    target = np.asarray(y)
    if target.shape != (n_rows,):
        raise DataError(f"y must have shape ({n_rows},), one target for each row of X, got {target.shape}.")
    if pd.isna(target).any():
        raise DataError(f"y misses a value in row {int(pd.isna(target).argmax())}; drop its row.")
    numeric = target.dtype.kind in "iuf"
    try:
        classes, codes, counts = np.unique(target, return_inverse=True, return_counts=True)
    except TypeError as error:
        raise DataError(f"y mixes types ({error}); pass numbers, or strings.") from error
    if len(classes) < 2:
        raise DataError(f"y is {classes.tolist()[0]!r} in every row, so that nothing can be important to it.")
    if task == "classification" or (task == "auto" and (not numeric or len(classes) == 2)):
        if counts.min() < _MIN_CLASS:
            raise DataError(
                f"y holds the class {classes.tolist()[counts.argmin()]!r} in {counts.min()} rows, "
                f"fewer than {_MIN_CLASS}; drop it, or pass task='regression'."
            )
        return codes, len(classes)
    if not numeric:
        raise DataError(
            f"y must hold numbers for regression, got {target.dtype}; pass task='classification'."
        )
    values = target.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"y holds {values[~np.isfinite(values)][0]}; drop its row.")
    return values, 0


def _check_roles(roles: Any, names: list[Any] | None, n_features: int) -> list[Any]:
    if not isinstance(roles, Roles):
        raise ParameterTypeError(
            f"roles must be an object with feature_names and mask(truth), such as FeatureRoles, "
            f"got {type(roles).__name__}."
        )
    known = list(roles.feature_names)
    if len(known) != n_features:
        raise FeatureAlignmentError(
            f"X has {n_features} columns but the roles name {len(known)} features; pass the same features."
        )
    if names is None or not all(isinstance(name, str) for name in names):
        return known  # columns without names are positions
    strange = sorted(set(names) ^ set(known))
    if strange:
        raise FeatureAlignmentError(
            f"X and the roles do not share the feature {strange[0]!r}; use the columns that the roles name."
        )
    return names


def _check_environments(environments: Any, n_rows: int) -> NDArray[np.intp]:
    labels = np.asarray(environments)
    if labels.shape != (n_rows,) or pd.isna(labels).any():
        raise DataError(
            f"environments must have shape ({n_rows},), one label for each row of X, got {labels.shape}"
            f"{' with gaps' if labels.shape == (n_rows,) else ''}."
        )
    found, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(found) < 2 or counts.min() < _MIN_ENVIRONMENT:
        raise DataError(
            f"environments must be at least 2 with at least {_MIN_ENVIRONMENT} rows each, got "
            f"{', '.join(f'{name!r}: {count}' for name, count in zip(found.tolist(), counts, strict=True))}."
        )
    return codes
