"""Losses at which contours lie, and their colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flatcausal._validation import check_integer, check_real
from flatcausal.exceptions import ParameterError

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

COLORS = "viridis"  # even steps to colour-blind readers, and in grey
_WIDE = 20  # values that span more than this factor are drawn on a log scale
_COUNT = 14


def contour_levels(losses: np.ndarray, levels: Any, vmin: float | None, vmax: float | None) -> np.ndarray:
    """Rising losses: the caller's, or a number of them over the range."""
    if levels is not None and np.ndim(levels) > 0:
        found = np.asarray(levels, dtype=float)
        if found.ndim != 1 or len(found) < 2 or not (np.diff(found) > 0).all():
            raise ParameterError(f"levels must be a number, or two or more losses that rise, got {levels!r}.")
        return found
    count = _COUNT if levels is None else check_integer("levels", levels, low=2)
    finite = losses[np.isfinite(losses)]
    low = float(finite.min()) if vmin is None else check_real("vmin", vmin)
    high = float(finite.max()) if vmax is None else check_real("vmax", vmax)
    if vmin is None and vmax is None and low == high:
        high = low + (abs(low) or 1.0)  # a level plane
    if low >= high:
        raise ParameterError(f"vmin must be below vmax, got {low:.6g} and {high:.6g}: pass another range.")
    return np.geomspace(low, high, count) if is_wide(low, high) else np.linspace(low, high, count)


def is_wide(low: float, high: float) -> bool:
    """Whether a range is drawn on a log scale."""
    return bool(low > 0 and high > _WIDE * low)


def norm_of(levels: np.ndarray) -> Normalize:
    """From losses to colours."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(levels[0]), float(levels[-1])
    return (LogNorm if is_wide(low, high) else Normalize)(low, high)
