"""From runs to blocks: one number for each block and optimizer."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError


def check_frame(frame: pd.DataFrame) -> None:
    """Raise unless the frame holds runs with their block and optimizer."""
    if not isinstance(frame, pd.DataFrame):
        raise ParameterTypeError(f"frame must be a pandas DataFrame, got {type(frame).__name__}.")
    for column in ("block", "optimizer"):
        if column not in frame:
            raise ParameterError(
                f"frame has no column {column!r}; pass the records that load_records returns."
            )
    if frame.empty:
        raise DataError("frame holds no runs; finish at least one cell of the study first.")


def finite_values(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Return a metric with NaN wherever a run diverged or has no finite value."""
    check_frame(frame)
    if metric not in frame:
        known = [name for name in frame.select_dtypes("number").columns if name != "member"]
        raise ParameterError(f"frame has no metric {metric!r}; it has {', '.join(map(repr, known))}.")
    if not pd.api.types.is_numeric_dtype(frame[metric]):
        raise ParameterError(f"The column {metric!r} does not hold numbers; name a numeric metric.")
    values = frame[metric].to_numpy(dtype=float, na_value=np.nan)
    usable = np.isfinite(values)
    if "status" in frame:
        usable &= (frame["status"] != "diverged").to_numpy()
    return pd.Series(np.where(usable, values, np.nan), index=frame.index, name=metric)


def block_means(frame: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two tables, block x optimizer: the mean over finite runs, and the number of other runs."""
    value = finite_values(frame, metric)
    cells = frame[["block", "optimizer"]].assign(value=value, lost=value.isna())
    blocks, optimizers = frame["block"].unique(), frame["optimizer"].unique()

    def pivot(column: str, how: str) -> pd.DataFrame:
        table = cells.pivot_table(column, "block", "optimizer", aggfunc=how, dropna=False)
        return table.reindex(index=blocks, columns=optimizers)

    return pivot("value", "mean"), pivot("lost", "sum")
