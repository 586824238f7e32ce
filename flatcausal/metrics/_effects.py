"""Metrics against the size of true effects, rather than a yes or no."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import ndcg_score

from flatcausal._validation import check_integer
from flatcausal.metrics._check import check_effects, check_importances, check_truth


def ndcg(importances: ArrayLike, effects: ArrayLike, k: int | None = None, *, signed: bool = False) -> float:
    r"""Normalised discounted cumulative gain: whether large effects are ranked first.

    .. math:: \frac{\sum_{i \le k} g_{(i)} / \log_2(i + 1)}{\sum_{i \le k} g^*_{(i)} / \log_2(i + 1)}

    where :math:`g_{(i)}` is the magnitude of the effect of the feature at rank :math:`i` and
    :math:`g^*` the same in the best order. Tied importances have the mean gain of their group, which
    is the expectation over all their orders.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    effects : array-like of float, shape (n_features,)
        True effects on the target, on one scale; magnitudes count.
    k : int, default=None
        How many ranks to sum, at least 1; None means all.
    signed : bool, default=False
        Rank by magnitude, for coefficients.

    Returns
    -------
    float
        In [0, 1], higher is better; nan for a single feature or if every effect is 0.

    Raises
    ------
    ParameterError
        If k < 1.
    DataError
        If importances or effects are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    References
    ----------
    Järvelin and Kekäläinen (2002); ties as in McSherry and Najork (2008).
    :func:`sklearn.metrics.ndcg_score`, except that it returns 0 where every gain is 0 and raises for one
    feature.

    Examples
    --------
    The larger effect comes first; the smaller shares the second and third place with a feature
    without effect:

    >>> from flatcausal.metrics import ndcg
    >>> round(ndcg([0.5, 0.2, 0.2, 0.1, 0.0], [2.0, 0.0, -1.0, 0.0, 0.0]), 4)
    0.9751
    """
    values = check_importances(importances, signed=signed)
    gains = check_effects(effects, len(values))
    if k is not None:
        k = check_integer("k", k, low=1)
    if len(values) == 1 or not gains.any():
        return float("nan")
    return float(ndcg_score([gains / gains.max()], [values], k=k))


def effect_spearman(
    importances: ArrayLike, effects: ArrayLike, among: ArrayLike | None = None, *, signed: bool = False
) -> float:
    r"""Rank correlation of importances with the magnitudes of true effects.

    .. math:: \rho = \operatorname{corr}(\operatorname{rank} v, \operatorname{rank} |\tau|)

    with mean ranks for ties (Spearman 1904). Chance is 0.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    effects : array-like of float, shape (n_features,)
        True effects on the target, on one scale; magnitudes count.
    among : array-like of bool, shape (n_features,), default=None
        Features to compare, such as the ancestors: all others have no effect, and their ties fill the ranks.
        None means all features.
    signed : bool, default=False
        Rank by magnitude, for coefficients.

    Returns
    -------
    float
        In [-1, 1], higher is better; nan if either side is constant among these features.

    Raises
    ------
    DataError
        If importances or effects are not finite or not one-dimensional.
    FeatureAlignmentError
        If the lengths differ.

    Examples
    --------
    >>> from flatcausal.metrics import effect_spearman
    >>> round(effect_spearman([0.5, 0.2, 0.2, 0.1, 0.0], [2.0, 0.0, -1.0, 0.0, 0.0]), 4)
    0.803
    >>> effect_spearman([0.5, 0.2, 0.2, 0.1, 0.0], [2.0, 0.0, -1.0, 0.0, 0.0], [1, 0, 1, 0, 0])
    1.0
    """
    values = check_importances(importances, signed=signed)
    sizes = check_effects(effects, len(values))
    chosen = np.ones(len(values), bool) if among is None else check_truth(among, len(values), name="among")
    ranks = [rankdata(side[chosen]) - (chosen.sum() + 1) / 2 for side in (values, sizes)]
    scale = math.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1]))
    return float(np.clip(ranks[0] @ ranks[1] / scale, -1.0, 1.0)) if scale else float("nan")
