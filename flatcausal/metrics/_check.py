"""The border of the metrics: importances and truths become clean arrays, or an error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal.exceptions import DataError, FeatureAlignmentError, ParameterTypeError


def check_importances(importances: ArrayLike, *, signed: bool = False) -> NDArray[np.float64]:
    """Return importances as finite float64 of shape (n_features,); ``signed`` takes magnitudes."""
    raw = np.asarray(importances)
    if np.iscomplexobj(raw):
        raise ParameterTypeError("importances must be real numbers, got complex ones; pass their magnitudes.")
    try:
        values = raw.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterTypeError(
            f"importances must be an array of numbers, got {type(importances).__name__} "
            f"of dtype {raw.dtype}; pass one number for each feature."
        ) from error
    if values.ndim != 1 or values.size == 0:
        raise DataError(
            f"importances must have shape (n_features,), got {values.shape}; pass one vector for one model."
        )
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        # Counting NaN as 0 would pass a broken model off as one that rejects the feature.
        raise DataError(
            f"importances must be finite, got {values[bad[0]]} at position {bad[0]}; "
            "a model that diverged has no importances to score."
        )
    return np.abs(values) if signed else values


def check_truth(truth: ArrayLike, n_features: int) -> NDArray[np.bool_]:
    """Return a truth as bool of shape (n_features,)."""
    mask = np.asarray(truth)
    if mask.ndim != 1:
        raise DataError(f"truth must have shape (n_features,), got {mask.shape}; pass one mask.")
    if len(mask) != n_features:
        raise FeatureAlignmentError(
            f"truth has {len(mask)} entries but importances have {n_features}; pass the same features."
        )
    if not np.isin(mask, (0, 1)).all():
        raise DataError(f"truth must hold only True and False (or 1 and 0), got {truth!r}.")
    return mask.astype(bool)
