"""Ranking metrics: whether the true causes are ranked above the other features."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, roc_auc_score

from flatcausal.metrics._check import check_importances, check_truth


def auroc(importances: ArrayLike, truth: ArrayLike, *, signed: bool = False) -> float:
    r"""Probability that a true feature outranks another one, ties counted half.

    .. math:: P(v_+ > v_-) + \tfrac12 P(v_+ = v_-)

    Chance is 0.5. It saturates where true features are rare: read `ap_lift` first.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    truth : array-like of bool, shape (n_features,)
        True for the features to be found.
    signed : bool, default=False
        Rank by magnitude, for coefficients.

    Returns
    -------
    float
        In [0, 1], higher is better; nan with an ``UndefinedMetricWarning`` if truth is all True or all False.

    Raises
    ------
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    References
    ----------
    Hanley and McNeil (1982), The meaning and use of the area under a ROC curve.

    Examples
    --------
    Of the 2 x 3 pairs, five are in order and one is tied:

    >>> from flatcausal.metrics import auroc
    >>> round(auroc([0.5, 0.2, 0.2, 0.1, 0.0], [True, False, True, False, False]), 4)
    0.9167
    """
    values = check_importances(importances, signed=signed)
    mask = check_truth(truth, len(values))
    if mask.all() or not mask.any():
        warnings.warn(
            f"auroc is undefined when {'every' if mask.all() else 'no'} feature is true; returning nan.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return float("nan")
    return float(roc_auc_score(mask, values))


def average_precision(importances: ArrayLike, truth: ArrayLike, *, signed: bool = False) -> float:
    r"""Precision averaged over the ranks at which true features are found.

    .. math:: \sum_k (R_k - R_{k-1}) P_k

    with precision :math:`P_k` and recall :math:`R_k` at the k-th distinct importance, so that
    tied features enter together and their order cannot leak the truth. Chance is the prevalence.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    truth : array-like of bool, shape (n_features,)
        True for the features to be found.
    signed : bool, default=False
        Rank by magnitude, for coefficients.

    Returns
    -------
    float
        In (0, 1], higher is better; 1 if truth is all True, nan if it is all False.

    Raises
    ------
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    References
    ----------
    :func:`sklearn.metrics.average_precision_score`, except that no true feature gives nan, not 0.

    Examples
    --------
    The first cause is found at precision 1, the second, tied with another feature, at 2/3:

    >>> from flatcausal.metrics import average_precision
    >>> round(average_precision([0.5, 0.2, 0.2, 0.1, 0.0], [True, False, True, False, False]), 4)
    0.8333
    """
    values = check_importances(importances, signed=signed)
    mask = check_truth(truth, len(values))
    return float(average_precision_score(mask, values)) if mask.any() else float("nan")


def ap_lift(importances: ArrayLike, truth: ArrayLike, *, signed: bool = False) -> float:
    r"""Average precision rescaled so that chance is 0 and a perfect ranking is 1.

    .. math:: \frac{AP - E}{1 - E}, \qquad
              E = \frac1n \left[ H_n + \frac{k - 1}{n - 1} (n - H_n) \right], \qquad
              H_n = \sum_{i=1}^n \frac1i

    where :math:`E` is the expected average precision of a random order of :math:`n` features of which
    :math:`k` are true: a true feature at rank :math:`i` has precision :math:`1/i` by itself and
    :math:`(i-1)(k-1)/(i(n-1))` by the others before it, averaged over :math:`i`. It is exact for a
    ranking without ties (all features tied reach the share of true features, which is below it).
    Comparable between graphs with different numbers of causes.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    truth : array-like of bool, shape (n_features,)
        True for the features to be found.
    signed : bool, default=False
        Rank by magnitude, for coefficients.

    Returns
    -------
    float
        At most 1, higher is better, negative below chance; nan if truth is all True or all False.

    Raises
    ------
    DataError
        If importances are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    Examples
    --------
    Average precision 5/6, where a random order of 2 true features among 5 reaches 0.5925:

    >>> from flatcausal.metrics import ap_lift
    >>> round(ap_lift([0.5, 0.2, 0.2, 0.1, 0.0], [True, False, True, False, False]), 4)
    0.591
    """
    values = check_importances(importances, signed=signed)
    mask = check_truth(truth, len(values))
    if mask.all() or not mask.any():
        return float("nan")
    chance = _expected_average_precision(len(mask), int(mask.sum()))
    return (average_precision(values, mask) - chance) / (1.0 - chance)


def _expected_average_precision(n_features: int, n_true: int) -> float:
    """Average precision of a random order, in expectation."""
    harmonic = float(np.sum(1.0 / np.arange(1, n_features + 1)))
    return (harmonic + (n_true - 1) / (n_features - 1) * (n_features - harmonic)) / n_features
