"""Paired comparison over random splits of one table, which share rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from flatcausal._validation import check_real
from flatcausal.study._pairs import PairedTest, compare_pairs
from flatcausal.study._statistics import compare


def compare_splits(
    frame: pd.DataFrame,
    metric: str,
    control: str | None = None,
    *,
    test_share: float,
    confidence: float = 0.95,
) -> pd.DataFrame:
    r"""Compare optimizers on one metric over random splits of one table.

    Splits share rows, so their differences :math:`d_1, \dots, d_J` are correlated, and a test that takes
    them for independent finds differences where there are none, the more the more splits there are. This
    is the corrected resampled t-test of Nadeau and Bengio (2003),

    .. math:: t = \frac{\bar d}{\sqrt{\left(\frac1J + \frac{q}{1 - q}\right) s^2}},
              \qquad s^2 = \frac{1}{J - 1} \sum_j (d_j - \bar d)^2

    on :math:`J - 1` degrees of freedom, where :math:`q` is ``test_share``; :math:`q/(1-q)` is the ratio of
    test to training rows. It does not vanish with :math:`J`: more splits add little evidence. The result
    speaks of this table only.

    Parameters
    ----------
    frame : DataFrame
        One row for each run, with columns ``block`` (the split), ``optimizer`` and ``metric``.
    metric : str
        A numeric column.
    control : str or None, default=None
        Compare each optimizer with this one; None compares all pairs.
    test_share : float
        Share of the rows that each split tests on, in (0, 1).
    confidence : float, default=0.95
        Level of the intervals; 1 - confidence is the level of the tests.

    Returns
    -------
    DataFrame
        The columns of :func:`compare`; ``estimate`` is the mean difference.

    Raises
    ------
    ParameterError
        If a name is unknown, or if there is only one optimizer.

    References
    ----------
    Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003.

    Examples
    --------
    Six splits that agree would convince, were they independent:

    >>> import pandas as pd
    >>> from flatcausal.study import compare_splits
    >>> frame = pd.DataFrame({
    ...     "block": [f"split-{i}" for i in range(6)] * 2, "optimizer": ["sam"] * 6 + ["sgd"] * 6,
    ...     "iid_risk": [0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.31, 0.4, 0.45, 0.5, 0.55, 0.64],
    ... })
    >>> row = compare_splits(frame, "iid_risk", "sgd", test_share=0.25).iloc[0]
    >>> row["verdict"], round(float(row["estimate"]), 3), round(float(row["p"]), 3)
    ('no difference shown', -0.175, 0.085)
    """
    check_real("test_share", test_share, low=0, high=1, open_low=True, open_high=True)

    def run(differences: np.ndarray, level: float) -> ResampledT:
        return resampled_t(differences, test_share / (1 - test_share), level)

    test = PairedTest(run, least_p=lambda n: 0.0 if n > 1 else 1.0, by_ranks=False)
    return compare_pairs(frame, metric, control, confidence, test)


def compare_as_designed(frame: pd.DataFrame, metric: str, design: Mapping[str, Any]) -> pd.DataFrame:
    """Compare with the design's control by the test that suits its data."""
    share = share_tested(design)
    if share is None:
        return compare(frame, metric, design["control"])
    return compare_splits(frame, metric, design["control"], test_share=share)


def share_tested(design: Mapping[str, Any]) -> float | None:
    """Return the share of rows that each split of a table tests on; None where blocks are independent."""
    data = design.get("data", {})
    return float(data.get("test_fraction", 0.25)) if data.get("kind") == "table" else None


@dataclass(frozen=True)
class ResampledT:
    """Mean difference, its interval and the two-sided p-value."""

    estimate: float
    low: float
    high: float
    p: float


def resampled_t(differences: np.ndarray, ratio: float, confidence: float) -> ResampledT:
    """Corrected resampled t-test; ``ratio`` is that of test to training rows."""
    n = len(differences)
    if n < 2:
        estimate = float(np.mean(differences)) if n else math.nan
        return ResampledT(estimate, -math.inf, math.inf, 1.0)
    mean = float(np.mean(differences))
    error = float(np.sqrt((1 / n + ratio) * np.var(differences, ddof=1)))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    if error == 0:
        return ResampledT(mean, mean, mean, float(mean == 0))
    return ResampledT(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, n - 1)))
