"""Mass metrics: the share of the importance that lies on the true causes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from flatcausal.metrics._check import check_importances, check_truth


def causal_mass(importances: ArrayLike, truth: ArrayLike, *, signed: bool = False) -> float:
    r"""Share of the positive importance that lies on true features.

    .. math:: \frac{\sum_{j \in \text{truth}} v_j^+}{\sum_j v_j^+}, \qquad v^+ = \max(v, 0)

    Chance is the prevalence. Negative importances (of a permutation) count as none.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    truth : array-like of bool, shape (n_features,)
        True for the features to be found.
    signed : bool, default=False
        Take magnitudes first, for coefficients.

    Returns
    -------
    float
        In [0, 1], higher is better; nan if no importance is positive, since a model that uses
        nothing uses no cause.

    Raises
    ------
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    Examples
    --------
    >>> from flatcausal.metrics import causal_mass
    >>> round(causal_mass([0.5, 0.2, 0.2, 0.1, 0.0], [True, False, True, False, False]), 4)
    0.7
    """
    values = np.maximum(check_importances(importances, signed=signed), 0.0)
    mask = check_truth(truth, len(values))
    largest = values.max()
    if largest == 0.0:
        return float("nan")
    values = values / largest  # so that huge importances cannot overflow the sum
    return float(values[mask].sum() / values.sum())
