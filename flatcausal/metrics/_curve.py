"""How risk grows with the strength of a shift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatcausal._validation import check_real
from flatcausal.exceptions import DataError, ParameterTypeError
from flatcausal.metrics._risk import RiskFunction, Rows, check_risk, check_rows


@dataclass(frozen=True)
class RobustnessCurve:
    """Risk of one estimator by the strength of a shift; lower is better.

    Attributes
    ----------
    risk : str
        Which risk.
    strengths : ndarray of float64, shape (n_strengths,)
        Ascending.
    risks : ndarray of float64, shape (n_strengths,)
        Risk at each strength.
    area : float
        Area under the curve, by the trapezoidal rule.
    """

    risk: str
    strengths: NDArray[np.float64]
    risks: NDArray[np.float64]
    area: float


def robustness_curve(
    estimator: object, rows_by_strength: Mapping[float, Rows], *, risk: str | RiskFunction = "auto"
) -> RobustnessCurve:
    r"""Risk of a fitted estimator as a function of the strength of a shift.

    .. math:: \delta \mapsto R_\delta(f), \qquad
              \text{area} = \sum_i (\delta_{i + 1} - \delta_i)
                            \frac{R_{\delta_i} + R_{\delta_{i + 1}}}{2}

    Parameters
    ----------
    estimator : object
        A fitted scikit-learn estimator.
    rows_by_strength : mapping of float to pair (X, y)
        Held-out rows at each of at least two strengths; strength 0 is the training distribution.
    risk : {"auto", "mse", "log_loss", "error"} or callable, default="auto"
        As for `worst_case_risk`.

    Returns
    -------
    RobustnessCurve
        Strengths in ascending order, risks and area.

    Raises
    ------
    ParameterTypeError
        If rows_by_strength is no mapping from numbers to pairs.
    DataError
        If there are fewer than two strengths, X and y differ in length, or a risk is not finite.

    Examples
    --------
    A model that predicts 0, while the mean of five targets moves away from it:

    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from flatcausal.metrics import robustness_curve
    >>> X, y = np.zeros((5, 1)), np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    >>> zero = DummyRegressor(strategy="constant", constant=0.0).fit(X, y)
    >>> curve = robustness_curve(zero, {0.0: (X, y), 1.0: (X, y + 1), 2.0: (X, y + 2)})
    >>> curve.risks.tolist(), curve.area
    ([2.0, 3.0, 6.0], 7.0)
    """
    measure = check_risk(risk, estimator)
    if not isinstance(rows_by_strength, Mapping):
        raise ParameterTypeError(
            f"rows_by_strength must map strengths to pairs (X, y), got {type(rows_by_strength).__name__}."
        )
    by_strength = {check_real("strength", key): rows for key, rows in rows_by_strength.items()}
    if len(by_strength) < 2:
        raise DataError(f"rows_by_strength must hold at least 2 strengths, got {len(by_strength)}.")
    strengths = sorted(by_strength)
    rows = [check_rows(by_strength[strength], f"strength {strength}") for strength in strengths]
    risks = np.array(
        [
            measure(estimator, X, y, f"strength {strength}")
            for strength, (X, y) in zip(strengths, rows, strict=True)
        ]
    )
    area = float(np.diff(strengths) @ (risks[:-1] + risks[1:]) / 2)
    return RobustnessCurve(measure.name, np.array(strengths), risks, area)
