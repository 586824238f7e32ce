"""The published median rule, for replication, beside the least that it can reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from flatcausal.exceptions import DataError
from flatcausal.metrics._check import check_importances, check_truth


@dataclass(frozen=True)
class MedianFalseRates:
    """Error rates of "a feature is relevant if its importance is above the median".

    Attributes
    ----------
    fn_relevant : float
        Share of the relevant features at or below the median.
    fp_irrelevant, fp_random : float
        Share of the irrelevant and of the random features above the median.
    fp : float
        The same for irrelevant and random features together.
    fn_minimum, fp_minimum : float
        The least ``fn_relevant`` and ``fp`` of importances without ties, which are reached by
        ranking every relevant feature first.
    """

    fn_relevant: float
    fp_irrelevant: float
    fp_random: float
    fp: float
    fn_minimum: float
    fp_minimum: float


def median_false_rates(
    importances: ArrayLike,
    relevant: ArrayLike,
    random: ArrayLike | None = None,
    *,
    signed: bool = False,
) -> MedianFalseRates:
    r"""Error rates of the rule that calls half of all features relevant, as published.

    .. math:: \text{fn} = \operatorname{mean}_{j \in R}\, 1[v_j \le m], \qquad
              \text{fp} = \operatorname{mean}_{j \notin R}\, 1[v_j > m], \qquad m = \operatorname{median} v

    Not a measure of recovery: without ties half of all features are above the median whatever the truth,
    so that no ranking of :math:`n` features, :math:`n_R` of them relevant, is better than

    .. math:: \text{fn} \ge \frac{\max(0,\, n_R - \lfloor n/2 \rfloor)}{n_R}, \qquad
              \text{fp} \ge \frac{\max(0,\, \lfloor n/2 \rfloor - n_R)}{n - n_R}

    Only importances that are exactly equal get below. Chance is 0.5 for each rate.

    Parameters
    ----------
    importances : array-like of float, shape (n_features,)
        One number for each feature, larger for more important.
    relevant : array-like of bool, shape (n_features,)
        True for the features to be found.
    random : array-like of bool, shape (n_features,), default=None
        True for distractors, of the others. The rest are irrelevant.
    signed : bool, default=False
        Take magnitudes first, for coefficients.

    Returns
    -------
    MedianFalseRates
        Lower is better; nan for a group without features.

    Raises
    ------
    DataError
        If importances are not finite or not one-dimensional, or a feature is relevant and random.
    FeatureAlignmentError
        If the lengths differ.

    References
    ----------
    The rule of the published generator behind ``SyntheticDAGDataset.preset("dlcausal")``.

    Examples
    --------
    One relevant feature of five is found, at the price of a false one: two are above the median.

    >>> from flatcausal.metrics import median_false_rates
    >>> rates = median_false_rates([0.5, 0.4, 0.2, 0.1, 0.0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 1])
    >>> rates.fn_relevant, rates.fp_irrelevant, rates.fp_random
    (0.0, 0.5, 0.0)
    >>> rates.fp, rates.fp_minimum
    (0.25, 0.25)
    """
    values = check_importances(importances, signed=signed)
    n = len(values)
    relevant = check_truth(relevant, n, name="relevant")
    random = np.zeros(n, bool) if random is None else check_truth(random, n, name="random")
    both = np.flatnonzero(relevant & random)
    if both.size:
        raise DataError(f"feature {both[0]} is both relevant and random; put it into one of the two.")
    scaled = values / (np.abs(values).max() or 1.0)  # the median of two huge values would overflow
    above = scaled > np.median(scaled)
    n_relevant, n_other = int(relevant.sum()), int((~relevant).sum())
    return MedianFalseRates(
        fn_relevant=_share(~above[relevant]),
        fp_irrelevant=_share(above[~relevant & ~random]),
        fp_random=_share(above[random]),
        fp=_share(above[~relevant]),
        fn_minimum=max(0, n_relevant - n // 2) / n_relevant if n_relevant else float("nan"),
        fp_minimum=max(0, n // 2 - n_relevant) / n_other if n_other else float("nan"),
    )


def _share(members: np.ndarray) -> float:
    return float(members.mean()) if members.size else float("nan")
