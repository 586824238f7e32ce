"""The border of ``sample``: interventions are checked before a row is drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal.datasets._columns import Columns
from flatcausal.datasets._environments import Environment
from flatcausal.datasets._scm import StructuralModel
from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError

Array = NDArray[np.float64]


def intervenable(kind: str, columns: Columns, model: StructuralModel) -> list[str]:
    """Features of the graph that an environment of this kind can move."""
    return [
        name
        for name in columns.feature_names
        if name in columns.node_of and (kind == "do" or model.assignments[columns.node_of[name]].has_noise)
    ]


def check_do(do: Mapping[str, ArrayLike] | None, n: int, columns: Columns) -> dict[str, float | Array]:
    """Return the held values as floats or arrays of shape (n,)."""
    if do is None:
        return {}
    if not isinstance(do, Mapping):
        raise ParameterTypeError(f"do must be a dict from feature names to values, got {type(do).__name__}.")
    for name in do:
        _check_feature("do", name, columns)
    return {name: _check_held(name, value, n) for name, value in do.items()}


def check_environment(env: Environment | None, columns: Columns, model: StructuralModel) -> None:
    """Refuse an environment that this model cannot be put into."""
    if env is None:
        return
    if not isinstance(env, Environment):
        raise ParameterTypeError(
            f"env must be an Environment, as environments() returns, got {type(env).__name__}."
        )
    known = intervenable(env.kind, columns, model)
    for name in env.features:
        _check_feature("env", name, columns)
        if name not in known:
            lacks = "noise of its own" if name in columns.node_of else "a place in the graph"
            raise ParameterError(
                f"env cannot {env.kind} {name!r}, which lacks {lacks}; name another feature."
            )


def _check_feature(argument: str, name: str, columns: Columns) -> None:
    if name == columns.target_name:
        raise ParameterError(f"{argument} names the target {name!r}; intervene on features only.")
    if name not in columns.feature_names:
        raise ParameterError(
            f"{argument} names {name!r}, which is none of the {len(columns.feature_names)} features; "
            "see feature_names_."
        )


def _check_held(name: str, value: ArrayLike, n: int) -> float | Array:
    try:
        held = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterTypeError(
            f"do[{name!r}] must be a number or an array of numbers, got {value!r}."
        ) from error
    if held.shape not in ((), (n,)):
        raise DataError(f"do[{name!r}] must be a number or have shape ({n},), got shape {held.shape}.")
    if not np.isfinite(held).all():
        raise DataError(f"do[{name!r}] must be finite, got {held[~np.isfinite(held)][0]}; pass numbers.")
    return float(held) if held.ndim == 0 else held
