"""Whether a model's residuals have one law in all environments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from flatcausal.exceptions import DataError, ParameterError
from flatcausal.metrics._risk import Environments, check_environments, predict


def invariance_gap(estimator: Any, environments: Environments) -> float:
    r"""How far residuals are from mean zero and one variance in every environment.

    .. math:: \max_e \frac{|\operatorname{mean} r_e|}{s}
              + \max_e \left| \log \frac{\operatorname{var} r_e}{s^2} \right|, \qquad
              s^2 = \frac1K \sum_e \operatorname{var} r_e

    with residuals :math:`r = y - f(x)`, for a classifier of two classes
    :math:`r = 1[y = 1] - \hat P(y = 1)`. Free of the target's unit. A regression on the true causes
    whose noise does not shift has gap 0 in the limit; a small gap does not show that a model is causal.

    Parameters
    ----------
    estimator : object
        A fitted regressor, or classifier of two classes with ``predict_proba``.
    environments : mapping of str to pair (X, y), or iterable of pairs
        Held-out rows of each of at least two environments.

    Returns
    -------
    float
        At least 0, lower is better; 0 where every residual is 0, infinite where residuals are
        constant in one environment only or constant and not 0 in all.

    Raises
    ------
    ParameterError
        If a classifier has more than two classes or no ``predict_proba``.
    DataError
        If there are fewer than two environments, X and y differ in length, or a residual is not finite.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    References
    ----------
    Peters, Bühlmann and Meinshausen (2016), Causal inference by using invariant prediction: the means and
    variances that its test compares.

    Examples
    --------
    Five residuals whose mean moves by half of their standard deviation, 1.41, in either direction:

    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from flatcausal.metrics import invariance_gap
    >>> X, y = np.zeros((5, 1)), np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    >>> zero = DummyRegressor(strategy="constant", constant=0.0).fit(X, y)
    >>> round(invariance_gap(zero, [(X, y - 2**-0.5), (X, y + 2**-0.5)]), 4)
    0.5
    """
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    rows = check_environments(environments)
    if len(rows) < 2:
        raise DataError(f"environments must be at least 2, got {len(rows)}; invariance compares them.")
    residuals = [_residuals(estimator, X, y, name) for name, (X, y) in rows.items()]
    means = np.array([residual.mean() for residual in residuals])
    # Residuals that are equal up to rounding are constant, whatever their computed variance.
    spread = [float(np.var(residual)) if np.ptp(residual) > 0 else 0.0 for residual in residuals]
    variances = np.array(spread)
    scale = float(variances.mean())
    if scale == 0.0:
        return 0.0 if not means.any() else math.inf
    if not variances.all():
        return math.inf
    return float(np.abs(means).max() / math.sqrt(scale) + np.abs(np.log(variances / scale)).max())


def _residuals(estimator: Any, X: Any, y: NDArray[Any], name: str) -> NDArray[np.float64]:
    if is_classifier(estimator):
        classes = getattr(estimator, "classes_", ())
        if len(classes) != 2 or not hasattr(estimator, "predict_proba"):
            raise ParameterError(
                "the invariance gap of a classifier needs two classes and predict_proba, "
                f"got {type(estimator).__name__} with {len(classes)} classes."
            )
        residuals = (y == classes[1]) - np.asarray(estimator.predict_proba(X), dtype=np.float64)[:, 1]
    else:
        residuals = y - predict(estimator, X, y).astype(np.float64)
    if not np.isfinite(residuals).all():
        raise DataError(
            f"predictions are not finite in environment {name!r}; a model that diverged has no residuals."
        )
    return residuals
