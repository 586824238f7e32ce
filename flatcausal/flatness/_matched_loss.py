"""Comparison of runs where their training losses are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from flatcausal._validation import check_real
from flatcausal.exceptions import DataError


def compare_at_matched_loss(
    runs: Mapping[Any, Any], measure: str, *, loss: str = "loss", at: float | None = None
) -> pd.DataFrame:
    """Compare a measure between runs at a training loss that all of them pass.

    At the end of training losses differ, and sharpness with them: a run with the higher loss can look sharper
    and be flatter wherever it has the other's loss. Each run is read where its loss first falls to the
    common level, on straight lines between its records.

    What it cannot tell: the level is that of the run that came least far, so what better runs do below it
    does not count; and a run is read while it moves, not at a minimum: where learning rates fall, the run
    that is ahead is read at the higher rate. Runs of several lengths, read at their ends, part the two.

    Parameters
    ----------
    runs : mapping of label to DataFrame or mapping of str to array
        Of each run its records in training order: at least the columns ``loss`` and ``measure``, of equal
        length.
    measure : str
        Column to compare.
    loss : str, default="loss"
        Column of the training loss, measured as ``measure`` is.
    at : float, optional
        The common level; the lowest that every run reaches if None.

    Returns
    -------
    DataFrame
        A row a run, in order: ``run``, ``loss`` (the common level), ``step`` (where the run passes it, in
        records from 0), ``measure``; then ``final_loss`` and ``final_<measure>``, which do not compare.

    Raises
    ------
    DataError
        If a run does not pass the level, or its records cannot be read.

    Examples
    --------
    >>> from flatcausal.flatness import compare_at_matched_loss
    >>> runs = {"sgd": {"loss": [4.0, 2.0, 1.0], "sharpness": [8.0, 6.0, 3.0]},
    ...         "sam": {"loss": [4.0, 3.0, 2.0], "sharpness": [8.0, 6.0, 4.0]}}
    >>> print(compare_at_matched_loss(runs, "sharpness"))
       run  loss  step  sharpness  final_loss  final_sharpness
    0  sgd   2.0   1.0        6.0         1.0              3.0
    1  sam   2.0   2.0        4.0         2.0              4.0
    """
    if not runs:
        raise DataError("runs is empty: pass the records of at least one run.")
    read = {label: _read(label, run, measure, loss) for label, run in runs.items()}
    level = _level(read, at)
    rows = []
    for label, (losses, values) in read.items():
        step = _passage(losses, level)
        value = np.interp(step, np.arange(len(values)), values)
        rows.append((label, level, step, value, losses[-1], values[-1]))
    return pd.DataFrame(rows, columns=["run", "loss", "step", measure, "final_loss", f"final_{measure}"])


def _read(label: Any, run: Any, measure: str, loss: str) -> tuple[np.ndarray, np.ndarray]:
    columns = []
    for name in (loss, measure):
        try:
            columns.append(np.asarray(run[name], dtype=np.float64))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(f"runs[{label!r}] has no column of numbers {name!r}: record it.") from error
    losses, values = columns
    if losses.ndim != 1 or losses.shape != values.shape or not len(losses):
        raise DataError(
            f"runs[{label!r}] must have {loss!r} and {measure!r} of one length, at least 1, "
            f"got shapes {losses.shape} and {values.shape}."
        )
    if not (np.isfinite(losses) & np.isfinite(values)).all():
        raise DataError(f"runs[{label!r}] holds values that are not finite: leave out a run that diverged.")
    return losses, values


def _level(read: dict[Any, tuple[np.ndarray, np.ndarray]], at: float | None) -> float:
    lowest = {label: losses.min() for label, (losses, _) in read.items()}
    first = {label: losses[0] for label, (losses, _) in read.items()}
    level = max(lowest.values()) if at is None else check_real("at", at)
    never = max(lowest, key=lambda label: lowest[label])
    below = min(first, key=lambda label: first[label])
    if lowest[never] > level:
        raise DataError(
            f"runs[{never!r}] stays above a loss of {level:.6g}: pass at={lowest[never]:.6g} or more."
        )
    if first[below] < level:
        raise DataError(
            f"runs[{below!r}] starts at a loss of {first[below]:.6g}, below {level:.6g}: record its start."
        )
    return float(level)


def _passage(losses: np.ndarray, level: float) -> float:
    """Where the loss first falls to the level, between records."""
    after = int(np.argmax(losses <= level))
    if after == 0:
        return 0.0
    before, here = losses[after - 1], losses[after]
    return after - 1 + (before - level) / (before - here)
