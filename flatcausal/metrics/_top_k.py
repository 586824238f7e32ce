"""Metrics of the k most important features, with ties at the k-th place taken in expectation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal._validation import check_integer
from flatcausal.metrics._check import check_importances, check_truth


def precision_at_k(
    importances: ArrayLike, truth: ArrayLike, k: int | None = None, *, signed: bool = False
) -> float:
    r"""Share of true features among the k most important ones.

    .. math:: \frac1k \left( h_> + (k - n_>) \frac{h_=}{n_=} \right)

    where :math:`n_>` features, :math:`h_>` of them true, lie above the k-th largest importance and
    :math:`n_=` features, :math:`h_=` of them true, are equal to it: the expectation over all orders
    of the tied features. Chance is the prevalence.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    truth : array-like of bool, shape (n_features,)
        True for the features to be found.
    k : int, default=None
        How many features to look at, at least 1; more than there are means all. None means as many
        as are true, which makes it equal to `recall_at_k`.
    signed : bool, default=False
        Rank by magnitude, for coefficients.

    Returns
    -------
    float
        In [0, 1], higher is better; nan if k is None and truth is all False.

    Raises
    ------
    ParameterError
        If k < 1.
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    References
    ----------
    McSherry and Najork (2008), Computing information retrieval performance measures efficiently in
    the presence of tied scores.

    Examples
    --------
    The first feature is true, and the second place goes to a true or a false one with equal chance:

    >>> from flatcausal.metrics import precision_at_k
    >>> precision_at_k([0.5, 0.2, 0.2, 0.1, 0.0], [True, False, True, False, False], k=2)
    0.75
    """
    values = check_importances(importances, signed=signed)
    mask = check_truth(truth, len(values))
    k = _check_k(k, mask)
    return _expected_hits(values, mask, k) / k if k else float("nan")


def recall_at_k(
    importances: ArrayLike, truth: ArrayLike, k: int | None = None, *, signed: bool = False
) -> float:
    r"""Share of the true features that are among the k most important ones.

    .. math:: \frac{1}{n_+} \left( h_> + (k - n_>) \frac{h_=}{n_=} \right)

    with the terms of `precision_at_k` and :math:`n_+` true features. Chance is k / n_features.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    truth : array-like of bool, shape (n_features,)
        True for the features to be found.
    k : int, default=None
        How many features to look at, at least 1; more than there are means all. None means as many
        as are true.
    signed : bool, default=False
        Rank by magnitude, for coefficients.

    Returns
    -------
    float
        In [0, 1], higher is better; nan if truth is all False.

    Raises
    ------
    ParameterError
        If k < 1.
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    Examples
    --------
    >>> from flatcausal.metrics import recall_at_k
    >>> recall_at_k([0.5, 0.2, 0.2, 0.1, 0.0], [True, False, True, False, False], k=1)
    0.5
    """
    values = check_importances(importances, signed=signed)
    mask = check_truth(truth, len(values))
    k = _check_k(k, mask)
    return _expected_hits(values, mask, k) / int(mask.sum()) if mask.any() else float("nan")


def _check_k(k: int | None, mask: NDArray[np.bool_]) -> int:
    return int(mask.sum()) if k is None else min(check_integer("k", k, low=1), len(mask))


def _expected_hits(values: NDArray[np.float64], mask: NDArray[np.bool_], k: int) -> float:
    """Count the true features among the first k, averaged over all orders of tied ones."""
    threshold = np.partition(values, len(values) - k)[len(values) - k]
    above, tied = values > threshold, values == threshold
    return float(mask[above].sum() + (k - above.sum()) * mask[tied].mean())
