"""Checks of parameters, and their wording: what is wrong, with which value, and the cure."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable

import numpy as np

from flatcausal.exceptions import ParameterError, ParameterTypeError


def check_integer(name: str, value: object, *, low: int | None = None, high: int | None = None) -> int:
    """Return ``value`` as an int within ``[low, high]``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ParameterTypeError(f"{name} must be an integer, got {value!r}.")
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        raise ParameterError(f"{name} must be {_range(low, high)}, got {number}.")
    return number


def check_real(
    name: str,
    value: object,
    *,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as a finite float within the interval; ``open_*`` excludes an end."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ParameterTypeError(f"{name} must be a number, got {value!r}.")
    number = float(value)
    below = low is not None and (number < low or (open_low and number == low))
    above = high is not None and (number > high or (open_high and number == high))
    if not math.isfinite(number) or below or above:
        raise ParameterError(
            f"{name} must be finite and {_range(low, high, open_low, open_high)}, got {number}."
        )
    return number


def check_boolean(name: str, value: object) -> bool:
    """Return ``value`` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ParameterTypeError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def check_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``choices``."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise ParameterError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}.")
    return value


def _range(low, high, open_low: bool = False, open_high: bool = False) -> str:
    parts = []
    if low is not None:
        parts.append(f"{'greater than' if open_low else 'at least'} {low}")
    if high is not None:
        parts.append(f"{'less than' if open_high else 'at most'} {high}")
    return " and ".join(parts) or "any number"
