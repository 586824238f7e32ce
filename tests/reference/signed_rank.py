"""The signed-rank test by going through every assignment of signs, and every candidate centre."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import stats


def null_cdf_by_enumeration(n: int) -> np.ndarray:
    sums = [
        sum(rank for rank, in_sum in zip(range(1, n + 1), signs, strict=True) if in_sum)
        for signs in product([0, 1], repeat=n)
    ]
    counts = np.bincount(sums, minlength=n * (n + 1) // 2 + 1)
    return np.cumsum(counts) / 2**n


def p_by_enumeration(differences: np.ndarray) -> float:
    """Two-sided p-value over all signs; ranks of untied, non-zero differences."""
    ranks = stats.rankdata(np.abs(differences))
    observed = ranks[differences > 0].sum()
    sums = np.array([ranks @ signs for signs in product([0, 1], repeat=len(ranks))])
    return min(1.0, 2 * min((sums >= observed).mean(), (sums <= observed).mean()))


def interval_by_scan(differences: np.ndarray, level: float) -> tuple[float, float]:
    """Smallest and largest centre, between neighbouring Walsh averages, that the test does not reject."""
    d = differences
    walsh = np.unique([(a + b) / 2 for i, a in enumerate(d) for b in d[i:]])
    gaps = (walsh[:-1] + walsh[1:]) / 2
    kept = [gap for gap in gaps if p_by_enumeration(d - gap) > level]
    return walsh[walsh < min(kept)].max(), walsh[walsh > max(kept)].min()
