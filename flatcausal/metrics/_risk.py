"""Risks of a fitted estimator, and the border where environments come in."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.metrics import log_loss
from sklearn.utils.validation import check_is_fitted

from flatcausal._validation import check_choice
from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError

#: Rows of one environment: a pair (X, y), or a record with X and y.
Rows: TypeAlias = Any
#: Several environments: by name, or in order.
Environments: TypeAlias = Mapping[str, Rows] | Iterable[Rows]
RiskFunction: TypeAlias = Callable[[Any, Any, Any], float]


@dataclass(frozen=True)
class Risk:
    """A risk by name: of an estimator on rows, and of the best constant prediction for targets."""

    name: str
    of: RiskFunction
    of_constant: Callable[[NDArray[Any]], float]

    def __call__(self, estimator: Any, X: Any, y: Any, where: str) -> float:
        """Return the risk on the rows of the environment ``where``."""
        value = self.of(estimator, X, y)
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise DataError(
                f"the risk {self.name} is {value!r} in {where}; a model that diverged has no risk to compare."
            )
        return float(value)


def check_risk(risk: str | RiskFunction, estimator: Any) -> Risk:
    """Return the risk asked for; ``"auto"`` depends on the kind of estimator."""
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    if not isinstance(risk, str):
        if not callable(risk):
            raise ParameterTypeError(f"risk must be a name or a callable, got {type(risk).__name__}.")
        return Risk(getattr(risk, "__name__", type(risk).__name__), risk, lambda y: math.nan)
    name = check_choice("risk", risk, ["auto", *_RISKS])
    if name == "auto":
        name = "log_loss" if is_classifier(estimator) else "mse"
    if name == "log_loss" and not hasattr(estimator, "predict_proba"):
        raise ParameterError(
            f"the risk 'log_loss' needs predict_proba, which {type(estimator).__name__} lacks; "
            "pass risk='error'."
        )
    return _RISKS[name]


def check_environments(environments: Environments) -> dict[str, tuple[Any, NDArray[Any]]]:
    """Return environments by name, each a pair (X, y) of equal length."""
    if isinstance(environments, Mapping):
        named = {str(name): rows for name, rows in environments.items()}
    elif isinstance(environments, Iterable) and not isinstance(environments, (str, np.ndarray)):
        named = {str(index): rows for index, rows in enumerate(environments)}
    else:
        raise ParameterTypeError(
            f"environments must be a mapping or a list of pairs (X, y), got {type(environments).__name__}."
        )
    if not named:
        raise DataError("environments are empty; pass at least one pair (X, y).")
    return {name: check_rows(rows, f"environment {name!r}") for name, rows in named.items()}


def check_rows(rows: Rows, where: str) -> tuple[Any, NDArray[Any]]:
    """Return one environment's (X, y)."""
    if hasattr(rows, "X") and hasattr(rows, "y"):
        rows = (rows.X, rows.y)
    if not isinstance(rows, (tuple, list)) or len(rows) != 2:
        raise ParameterTypeError(f"{where} must be a pair (X, y), got {type(rows).__name__}.")
    X, y = rows[0], np.asarray(rows[1])
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if y.ndim != 1 or len(y) != n_rows or n_rows == 0:
        raise DataError(f"y of {where} must have shape ({n_rows},) with at least one row, got {y.shape}.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"y of {where} holds {y[~np.isfinite(y)][0]}; drop its rows.")
    return X, y


def predict(estimator: Any, X: Any, y: NDArray[Any]) -> NDArray[Any]:
    """Return one prediction for each row."""
    predictions = np.asarray(estimator.predict(X))
    if predictions.shape == (len(y), 1):
        predictions = predictions[:, 0]
    if predictions.shape != y.shape:
        raise DataError(
            f"{type(estimator).__name__} predicts shape {predictions.shape} where y has {y.shape}; "
            "pass an estimator of one target."
        )
    return predictions


def _mse(estimator: Any, X: Any, y: NDArray[Any]) -> float:
    with np.errstate(all="ignore"):  # a prediction that is not finite is named by Risk
        return float(np.mean((predict(estimator, X, y).astype(np.float64) - y) ** 2))


def _log_loss(estimator: Any, X: Any, y: NDArray[Any]) -> float:
    unknown = np.setdiff1d(y, estimator.classes_)
    if unknown.size:
        raise DataError(
            f"y holds the class {unknown[0].item()!r}, which the estimator was not fitted on; drop it."
        )
    probabilities = np.asarray(estimator.predict_proba(X))  # its precision decides how near 0 is clipped
    if not np.isfinite(probabilities).all():
        return math.nan
    return float(log_loss(y, probabilities, labels=estimator.classes_))


def _error(estimator: Any, X: Any, y: NDArray[Any]) -> float:
    return float(np.mean(predict(estimator, X, y) != y))


def _entropy(y: NDArray[Any]) -> float:
    share = np.unique(y, return_counts=True)[1] / len(y)
    return float(-(share @ np.log(share)))


_RISKS = {
    "mse": Risk("mse", _mse, lambda y: float(np.var(y))),
    "log_loss": Risk("log_loss", _log_loss, _entropy),
    "error": Risk("error", _error, lambda y: float(1.0 - np.unique(y, return_counts=True)[1].max() / len(y))),
}
