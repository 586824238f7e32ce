"""Risk over environments: the worst, the mean, the tail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatcausal._validation import check_real
from flatcausal.metrics._risk import (
    Environments,
    RiskFunction,
    Rows,
    check_environments,
    check_risk,
    check_rows,
)


@dataclass(frozen=True)
class RiskReport:
    """Risks of one estimator over environments; lower is better.

    Attributes
    ----------
    risk : str
        Which risk.
    risks : dict of str to float
        By environment.
    worst, mean : float
        Their maximum and mean.
    worst_environment : str
        Where the maximum is; the first, if several tie.
    cvar : float
        Mean of the worst ``tail`` of the environments.
    tail : float
        That share.
    iid : float
        Risk on rows of the training distribution; nan if none were given.
    iid_normalised : float
        The same in units of the best constant's risk there: 1 is useless, for ``"mse"`` it is 1 - R². nan
        for a callable risk or a constant target.
    """

    risk: str
    risks: dict[str, float]
    worst: float
    worst_environment: str
    mean: float
    cvar: float
    tail: float
    iid: float
    iid_normalised: float


def worst_case_risk(
    estimator: object,
    environments: Environments,
    *,
    iid: Rows | None = None,
    risk: str | RiskFunction = "auto",
    tail: float = 0.1,
) -> RiskReport:
    r"""Risk of a fitted estimator in every environment, its worst, mean and tail.

    .. math:: R_e(f) = \frac{1}{n_e} \sum_{i \in e} \ell(y_i, f(x_i)), \qquad
              \text{worst} = \max_e R_e, \qquad
              \text{CVaR}_\alpha = \frac{1}{\alpha K} \left( \sum_{e \le m} R_{(e)}
                                   + (\alpha K - m) R_{(m + 1)} \right)

    for :math:`K` environments with risks :math:`R_{(1)} \ge R_{(2)} \ge \dots` and
    :math:`m = \lfloor \alpha K \rfloor`; with fewer than :math:`1/\alpha` environments it is the worst.

    Parameters
    ----------
    estimator : object
        A fitted scikit-learn estimator.
    environments : mapping of str to pair (X, y), or iterable of pairs
        Held-out rows of each environment; records with ``X`` and ``y`` will do. Without names,
        environments are called ``"0"``, ``"1"``, ...
    iid : pair (X, y), default=None
        Held-out rows of the training distribution.
    risk : {"auto", "mse", "log_loss", "error"} or callable, default="auto"
        ``"auto"`` is ``"log_loss"`` for classifiers and ``"mse"`` otherwise; ``"error"`` is the share of
        wrong predictions. A callable ``risk(estimator, X, y)`` returns a number, lower for better.
    tail : float, default=0.1
        Share :math:`\alpha` of the environments that CVaR averages, in (0, 1].

    Returns
    -------
    RiskReport
        All of them.

    Raises
    ------
    ParameterError
        If risk is unknown or tail is not in (0, 1].
    ParameterTypeError
        If environments are no pairs.
    DataError
        If there is no environment, X and y differ in length, or a risk is not finite.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    References
    ----------
    Rockafellar and Uryasev (2002), Conditional value-at-risk for general loss distributions.

    Examples
    --------
    A model that predicts 0 for five targets, in two environments:

    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from flatcausal.metrics import worst_case_risk
    >>> X, y = np.zeros((5, 1)), np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    >>> zero = DummyRegressor(strategy="constant", constant=0.0).fit(X, y)
    >>> report = worst_case_risk(zero, {"shift": (X, y + 1), "scale": (X, 2 * y)}, iid=(X, y))
    >>> report.risks
    {'shift': 3.0, 'scale': 8.0}
    >>> report.worst, report.worst_environment, report.mean, report.iid_normalised
    (8.0, 'scale', 5.5, 1.0)
    """
    tail = check_real("tail", tail, low=0.0, high=1.0, open_low=True)
    measure = check_risk(risk, estimator)
    rows = check_environments(environments)
    risks = {name: measure(estimator, X, y, f"environment {name!r}") for name, (X, y) in rows.items()}
    at_home = constant = math.nan
    if iid is not None:
        X, y = check_rows(iid, "iid")
        at_home, constant = measure(estimator, X, y, "iid"), measure.of_constant(y)
    worst_environment = max(risks, key=lambda name: risks[name])
    return RiskReport(
        risk=measure.name,
        risks=risks,
        worst=risks[worst_environment],
        worst_environment=worst_environment,
        mean=float(np.mean(list(risks.values()))),
        cvar=_cvar(np.array(list(risks.values())), tail),
        tail=tail,
        iid=at_home,
        iid_normalised=at_home / constant if constant else math.nan,
    )


def _cvar(risks: NDArray[np.float64], tail: float) -> float:
    """Mean of the worst ``tail`` of equally likely risks, the last of them in part."""
    share = np.clip(tail * len(risks) - np.arange(len(risks)), 0.0, 1.0)
    return float(np.sort(risks)[::-1] @ share / share.sum())
