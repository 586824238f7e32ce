"""The border of the metrics: importances, truths and effects become clean arrays, or an error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterTypeError


def check_importances(
    importances: ArrayLike, *, signed: bool = False, name: str = "importances"
) -> NDArray[np.float64]:
    """Return importances as finite float64 of shape (n_features,); ``signed`` takes magnitudes."""
    values = check_numbers(importances, name)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        # Counting NaN as 0 would pass a broken model off as one that rejects the feature.
        raise DataError(
            f"{name} must be finite, got {values[bad[0]]} at position {bad[0]}; "
            "a model that diverged has no importances to score."
        )
    return np.abs(values) if signed else values


def check_numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return real numbers, NaN and infinity among them, as float64 of shape (n_features,)."""
    try:
        raw = np.asarray(values)
        numbers = np.real(raw).astype(np.float64)
    except (TypeError, ValueError) as error:  # words, objects, rows of unequal length
        raise ParameterTypeError(
            f"{name} must be an array of numbers, got {type(values).__name__} {values!r:.60}; "
            "pass one number for each feature."
        ) from error
    if np.iscomplexobj(raw):
        raise ParameterTypeError(f"{name} must be real numbers, got complex ones; pass their magnitudes.")
    if numbers.ndim != 1 or numbers.size == 0:
        raise DataError(
            f"{name} must have shape (n_features,), got {numbers.shape}; pass one vector for one model."
        )
    return numbers


def check_truth(truth: ArrayLike, n_features: int, *, name: str = "truth") -> NDArray[np.bool_]:
    """Return a truth as bool of shape (n_features,)."""
    mask = np.asarray(truth)
    if mask.ndim != 1:
        raise DataError(f"{name} must have shape (n_features,), got {mask.shape}; pass one mask.")
    _check_length(name, len(mask), n_features)
    if not np.isin(mask, (0, 1)).all():
        raise DataError(f"{name} must hold only True and False (or 1 and 0), got {truth!r}.")
    return mask.astype(bool)


def check_effects(effects: ArrayLike, n_features: int) -> NDArray[np.float64]:
    """Return the magnitudes of true effects, finite, of shape (n_features,)."""
    sizes = np.abs(check_numbers(effects, "effects"))
    _check_length("effects", len(sizes), n_features)
    bad = np.flatnonzero(~np.isfinite(sizes))
    if bad.size:
        raise DataError(
            f"effects must be finite, got {sizes[bad[0]]} at position {bad[0]}; "
            "pass 0 for a feature without effect."
        )
    return sizes


def _check_length(name: str, length: int, n_features: int) -> None:
    if length != n_features:
        raise FeatureAlignmentError(
            f"{name} has {length} entries but importances have {n_features}; pass the same features."
        )
