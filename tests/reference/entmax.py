"""1.5-entmax by its definition: the threshold is found by halving an interval."""

from __future__ import annotations

import numpy as np


def entmax15(logits: np.ndarray, axis: int) -> np.ndarray:
    """``max(z / 2 - tau, 0) ** 2`` with tau such that it sums to one along ``axis``, in float64."""
    z = np.asarray(logits, dtype=np.float64) / 2
    z = z - z.max(axis, keepdims=True)
    low, high = np.full_like(z.max(axis, keepdims=True), -1.0), np.zeros_like(z.max(axis, keepdims=True))
    for _ in range(80):
        middle = (low + high) / 2
        enough = (np.maximum(z - middle, 0) ** 2).sum(axis, keepdims=True) >= 1
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    return np.maximum(z - low, 0) ** 2
