"""How much the selected features change from run to run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from flatcausal._validation import check_real
from flatcausal.exceptions import DataError


@dataclass(frozen=True)
class StabilityResult:
    """Stability of a selection, with its interval.

    Attributes
    ----------
    value : float
        At most 1, which means the same features each time; 0 is the chance level.
    low, high : float
        Asymptotic confidence interval. It treats the runs as independent, is not cut off at 1, and
        has no width where every run selects the same.
    confidence : float
        Its level.
    n_runs : int
        Number of selections.
    """

    value: float
    low: float
    high: float
    confidence: float
    n_runs: int


def selection_stability(selected: ArrayLike, *, confidence: float = 0.95) -> StabilityResult:
    r"""Stability of feature selection over runs, corrected for chance, with an interval.

    .. math:: \hat\Phi = 1 - \frac{\frac{M}{M - 1} \frac1d \sum_f \hat p_f (1 - \hat p_f)}
                                  {\frac{\bar k}{d} \left(1 - \frac{\bar k}{d}\right)}

    for :math:`M` runs and :math:`d` features, where :math:`\hat p_f` is the share of runs that
    selected feature :math:`f` and :math:`\bar k` the mean number selected. The interval is
    :math:`\hat\Phi \pm z \sqrt{v}` with

    .. math::

        v = \frac{4}{M^2} \sum_i (\hat\Phi_i - \bar\Phi)^2, \qquad
        \hat\Phi_i = \frac{\frac1d \sum_f z_{if} \hat p_f - \frac{k_i \bar k}{d^2} + \frac{\hat\Phi}{2}
                     \left( \frac{2 k_i \bar k}{d^2} - \frac{k_i}{d} - \frac{\bar k}{d} + 1 \right)}
                    {\frac{\bar k}{d} \left(1 - \frac{\bar k}{d}\right)}

    Parameters
    ----------
    selected : array-like of bool, shape (n_runs, n_features)
        True where a run selected a feature, for example the k most important ones.
    confidence : float, default=0.95
        Level of the interval, in (0, 1).

    Returns
    -------
    StabilityResult
        Value and interval; nan if no run selects a feature or every run selects all.

    Raises
    ------
    DataError
        If there are fewer than two runs, no features, or entries other than True and False.
    ParameterError
        If confidence is not in (0, 1).

    References
    ----------
    Nogueira, Sechidis and Brown (2018), On the stability of feature selection algorithms, JMLR 18(174),
    definition 4 and theorem 7.

    Examples
    --------
    Three runs select two of five features each; the first two agree:

    >>> from flatcausal.metrics import selection_stability
    >>> result = selection_stability([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0]])
    >>> round(result.value, 4), round(result.low, 4), round(result.high, 4)
    (0.4444, 0.1481, 0.7408)
    """
    Z = _check_selected(selected)
    confidence = check_real("confidence", confidence, low=0.0, high=1.0, open_low=True, open_high=True)
    (n_runs, d), frequency = Z.shape, Z.mean(axis=0)
    if not Z.any() or Z.all():
        return StabilityResult(math.nan, math.nan, math.nan, confidence, n_runs)
    share, mean_share = Z.mean(axis=1), float(frequency.mean())
    chance = mean_share * (1.0 - mean_share)
    value = float(1.0 - n_runs / (n_runs - 1) * np.mean(frequency * (1.0 - frequency)) / chance)
    agreement = Z @ frequency / d - share * mean_share
    of_run = (agreement + value / 2 * (2 * share * mean_share - share - mean_share + 1.0)) / chance
    half_width = float(ndtri((1.0 + confidence) / 2) * 2 / n_runs * np.linalg.norm(of_run - of_run.mean()))
    return StabilityResult(value, value - half_width, value + half_width, confidence, n_runs)


def _check_selected(selected: ArrayLike) -> np.ndarray:
    try:
        Z = np.asarray(selected)
    except ValueError as error:
        raise DataError("selected has runs of unequal length; pass one entry for each feature.") from error
    if Z.ndim != 2 or Z.shape[1] == 0:
        raise DataError(f"selected must have shape (n_runs, n_features), got {Z.shape}; pass one row a run.")
    if len(Z) < 2:
        raise DataError(f"selected must hold at least 2 runs, got {len(Z)}; stability compares runs.")
    if not np.isin(Z, (0, 1)).all():
        raise DataError(
            "selected must hold only True and False (or 1 and 0); select before you compare runs."
        )
    return Z.astype(np.float64)
