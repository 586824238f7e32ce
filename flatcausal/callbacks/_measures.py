"""Several measures of flatness as one function from a model to columns of a history."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.flatness import flatness_report, measure_names

Columns = dict[str, np.ndarray]

_GROUPS = ("headline", "all")


class Measures:
    """What the user wants measured, checked.

    Parameters
    ----------
    measures : str, callable, sequence or mapping
        As ``SharpnessMonitor`` takes them.

    Attributes
    ----------
    named : str or list of str
        What ``flatness_report`` is asked for.
    functions : dict of str to callable
        The other measures, by column.
    """

    def __init__(self, measures: Any):
        self.named: str | list[str] = []
        self._columns: dict[str, list[str]] = {}
        self._filled: dict[str, list[str]] = {}  # by a function, when it last had numbers
        if isinstance(measures, str) and measures in _GROUPS:
            self.named = measures
            self._columns = {name: [name] for name in measure_names(measures)}
            self.functions: dict[str, Callable[..., Any]] = {}
            return
        pairs = _pairs(measures)
        self.functions = {column: measure for column, measure in pairs if callable(measure)}
        for column, measure in pairs:
            if not callable(measure):
                self._columns.setdefault(measure, []).append(column)
        if self._columns:
            self.named = measure_names(list(self._columns))

    def __call__(self, model: Any, X: Any, y: Any, protocol: Mapping[str, Any]) -> tuple[Columns, list[str]]:
        """Values of each member (K,) by column, with the losses beside them; and what could not be computed.

        Where nothing can be computed a column holds a single NaN.
        """
        found: Columns = {}
        complaints = []
        for measure in (self._report, *map(self._of_function, self.functions)):
            values, complaint = measure(model, X, y, protocol)
            found.update(values)
            if complaint:
                complaints.append(complaint)
        return found, complaints

    def _report(self, model: Any, X: Any, y: Any, protocol: Mapping[str, Any]) -> tuple[Columns, str]:
        if not self.named:
            return {}, ""
        try:
            report = flatness_report(model, X, y, self.named, **protocol)
        except FloatingPointError as error:
            columns = [column for columns in self._columns.values() for column in columns]
            return _nothing(_with_losses(columns)), str(error)
        found: Columns = {}
        for name, rows in report.groupby("measure", sort=False):
            for column in self._columns[str(name)]:
                found[column] = rows["value"].to_numpy()
                found[f"{column}_loss"] = rows["loss"].to_numpy()
        return found, ""

    def _of_function(self, column: str) -> Callable[..., tuple[Columns, str]]:
        function = self.functions[column]

        def measure(model: Any, X: Any, y: Any, protocol: Mapping[str, Any]) -> tuple[Columns, str]:
            try:  # what a partial binds wins
                result = function(model, X, y, **{**protocol, **getattr(function, "keywords", {})})
            except FloatingPointError as error:
                return _nothing(self._filled.get(column, _with_losses([column]))), str(error)
            values = _values(column, getattr(result, "value", result))
            if hasattr(result, "loss"):
                values[f"{column}_loss"] = np.asarray(result.loss, dtype=np.float64)
            self._filled[column] = list(values)
            return values, ""

        return measure


def _pairs(measures: Any) -> list[tuple[str, Any]]:
    """Columns and their measures: names or functions."""
    if isinstance(measures, str) or callable(measures):
        measures = [measures]
    if isinstance(measures, Mapping):
        pairs = list(measures.items())
    elif isinstance(measures, Sequence):
        pairs = [(measure if isinstance(measure, str) else _name(measure), measure) for measure in measures]
    else:
        raise ParameterTypeError(
            f"measures must be a name, a function, or several of them in a list or dict, got {measures!r}."
        )
    if not pairs:
        raise ParameterError("measures is empty: name at least one, such as 'adaptive'.")
    seen = set()
    for column, measure in pairs:
        if not isinstance(column, str):
            raise ParameterTypeError(f"measures must have the names of columns as keys, got {column!r}.")
        if not (isinstance(measure, str) or callable(measure)):
            raise ParameterTypeError(
                f"measures[{column!r}] must be the name of a measure or a function, got {measure!r}."
            )
        if isinstance(measure, str):
            measure_names([measure])
        if column in seen:
            raise ParameterError(
                f"measures has two of the name {column!r}: pass a dict that gives each a column of its own."
            )
        seen.add(column)
    return pairs


def _name(function: Any) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return getattr(inner, "__name__", type(inner).__name__)


def _values(column: str, value: Any) -> Columns:
    """One column for values (K,), and numbered ones for values (K, k)."""
    try:
        array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        array = np.empty((0, 0, 0))
    if value is None or array.ndim > 2 or not array.size:
        raise ParameterTypeError(
            f"measures[{column!r}] must return a FlatnessResult or a number for each member, got {value!r}."
        )
    if array.ndim == 1 or array.shape[1] == 1:
        return {column: array.reshape(-1)}
    return {f"{column}_{i}": values for i, values in enumerate(array.T, start=1)}


def _with_losses(columns: list[str]) -> list[str]:
    return [name for column in columns for name in (column, f"{column}_loss")]


def _nothing(columns: list[str]) -> Columns:
    return {column: np.array([np.nan]) for column in columns}
