"""The flatness of a model at a glance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
from torch import nn

from flatcausal._validation import check_choice
from flatcausal.exceptions import ParameterError
from flatcausal.flatness._eigenvalues import eigenpairs
from flatcausal.flatness._kinds import KINDS
from flatcausal.flatness._local_entropy import entropy
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import Protocol, measuring
from flatcausal.flatness._relative_flatness import relative
from flatcausal.flatness._result import FlatnessResult, Found, record
from flatcausal.flatness._sharpness import default_search, sharpness_of
from flatcausal.flatness._trace import hutchinson
from flatcausal.nn import TabNet


def _kind(name: str) -> Callable[[Problem], FlatnessResult]:
    return lambda problem: sharpness_of(problem, name, KINDS[name].rho, default_search(), None)


def _curvature(name: str, find: Callable[[Products], Found]) -> Callable[[Problem], FlatnessResult]:
    def measure(problem: Problem) -> FlatnessResult:
        products = Products(problem)
        return products.record(name, find(products))

    return measure


def _top_eigenvalue(products: Products) -> Found:
    pairs = eigenpairs(products, 1)
    return Found(pairs.values[:, 0], converged=pairs.converged, residual=pairs.residual[:, 0])


_ADAPTIVE: dict[str, Callable[[Problem], FlatnessResult]] = {
    **{name: _kind(name) for name in ("adaptive", "adaptive_l2", "adaptive_linf", "adaptive_average")},
    "relative_flatness": lambda problem: record(problem, "relative_flatness", relative(problem)),
}
_OTHERS = {
    **{name: _kind(name) for name in ("sam", "l2", "linf", "average", "keskar")},
    "hessian_top_eigenvalue": _curvature("hessian_top_eigenvalue", _top_eigenvalue),
    "hessian_trace": _curvature("hessian_trace", hutchinson),
    "local_entropy": _curvature("local_entropy", entropy),
    "gradient_norm": lambda problem: record(problem, "gradient_norm", Found(problem.norms(problem.base[1]))),
}
_MEASURES = {**_ADAPTIVE, **_OTHERS}
_GROUPS = {"headline": tuple(_ADAPTIVE), "all": tuple(_MEASURES)}


def flatness_report(
    model: Any, X: Any, y: Any, measures: str | Sequence[str] = "headline", **protocol: Unpack[Protocol]
) -> pd.DataFrame:
    """Take several measures of one model, those that survive a rescaling of its weights first.

    Parameters
    ----------
    model, X, y
        As in :func:`flatcausal.flatness.sharpness`.
    measures : {"headline", "all"} or sequence of str, default="headline"
        ``"headline"`` are the adaptive kinds of sharpness and relative flatness; ``"all"`` adds those that a
        rescaling moves at will, curvature (some 500 Hessian-vector products) and the gradient's norm. Each is
        taken with its default radius. Both leave out what a model cannot have: relative flatness without a
        linear layer.
    **protocol
        See :class:`flatcausal.flatness.Protocol`.

    Returns
    -------
    DataFrame
        A row a measure and member: ``measure``, ``member``, ``value``, ``standard_error``, ``converged``,
        ``survives_rescaling``, and what they must be read with: ``loss``, ``gradient_norm``, ``weight_norm``,
        ``bn``, ``dtype``, ``n_rows``, ``rows_hash``.

    Examples
    --------
    >>> import numpy as np
    >>> from flatcausal import FlatMinimaTabNetRegressor
    >>> from flatcausal.flatness import flatness_report
    >>> X = np.random.default_rng(0).normal(size=(64, 3))
    >>> est = FlatMinimaTabNetRegressor(n_d=2, n_a=2, n_steps=1, max_epochs=2, random_state=0).fit(X, X[:, 0])
    >>> report = flatness_report(est, X, X[:, 0], random_state=0)
    >>> report["measure"].tolist()
    ['adaptive', 'adaptive_l2', 'adaptive_linf', 'adaptive_average', 'relative_flatness']
    >>> bool(report["survives_rescaling"].all())
    True
    """
    names = measure_names(measures)
    with measuring(model, X, y, **protocol) as problem:
        if isinstance(measures, str) and not _has_linear_layer(problem):
            names = [name for name in names if name != "relative_flatness"]
        return pd.concat([_rows(_MEASURES[name](problem)) for name in names], ignore_index=True)


def measure_names(measures: str | Sequence[str] = "all") -> list[str]:
    """Names of measures in the order of :func:`flatness_report`.

    Parameters
    ----------
    measures : {"headline", "all"} or sequence of str, default="all"
        A group, or some names.

    Returns
    -------
    list of str

    Raises
    ------
    ParameterError
        If there is none, or no measure of a name.

    Examples
    --------
    >>> from flatcausal.flatness import measure_names
    >>> measure_names("headline")
    ['adaptive', 'adaptive_l2', 'adaptive_linf', 'adaptive_average', 'relative_flatness']
    """
    if isinstance(measures, str):
        return list(_GROUPS[check_choice("measures", measures, _GROUPS)])
    names = [check_choice("measures", name, _MEASURES) for name in measures]
    if not names:
        raise ParameterError(f"measures is empty: pass 'headline', 'all' or some of {', '.join(_MEASURES)}.")
    return sorted(names, key=list(_MEASURES).index)


def _has_linear_layer(problem: Problem) -> bool:
    return isinstance(problem.module, TabNet) or (
        problem.n_members == 1 and any(isinstance(layer, nn.Linear) for layer in problem.module.modules())
    )


def _rows(result: FlatnessResult) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "measure": result.measure,
            "member": np.arange(len(result.value)),
            "value": result.value,
            "standard_error": result.standard_error,
            "converged": result.converged,
            "survives_rescaling": result.measure in _ADAPTIVE,
            "loss": result.loss,
            "gradient_norm": result.gradient_norm,
            "weight_norm": result.weight_norm,
            "bn": result.bn,
            "dtype": result.dtype,
            "n_rows": result.n_rows,
            "rows_hash": result.rows_hash,
        }
    )
