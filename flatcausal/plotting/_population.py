"""Flatness against recovery: every run, and every optimizer's mean with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from flatcausal.exceptions import DataError, ParameterError
from flatcausal.plotting._levels import is_wide
from flatcausal.plotting._style import INK, look, new_axes, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class PopulationDisplay:
    """Two metrics of a population of runs: a light point for each run, a bold one for each optimizer.

    Make it with :meth:`from_records`. The bold point is the mean over blocks
    of the mean over runs, its cross Student's interval over blocks; on a
    logarithmic axis both are taken of the logarithms.

    Parameters
    ----------
    runs : DataFrame
        One row for each run: ``optimizer``, ``x``, ``y``.
    centers : DataFrame
        One row for each optimizer, which is the index: ``x``, ``x_low``,
        ``x_high``, ``y``, ``y_low``, ``y_high``; NaN for no interval.
    x_name, y_name : str
        The metrics' names, for the axes.
    log_x : bool, default=False
        Draw x on a logarithmic scale.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import pandas as pd
    >>> from flatcausal.plotting import PopulationDisplay
    >>> frame = pd.DataFrame({
    ...     "block": ["a", "a", "b", "b"], "optimizer": ["sam", "sgd"] * 2,
    ...     "sharpness_adaptive": [0.1, 0.3, 0.2, 0.4], "ap_lift_parents": [0.6, 0.5, 0.9, 0.7],
    ... })
    >>> display = PopulationDisplay.from_records(frame).plot()
    >>> display.ax_.get_xlabel()
    'sharpness_adaptive'
    """

    def __init__(
        self, *, runs: pd.DataFrame, centers: pd.DataFrame, x_name: str, y_name: str, log_x: bool = False
    ):
        self.runs = runs
        self.centers = centers
        self.x_name = x_name
        self.y_name = y_name
        self.log_x = log_x

    @classmethod
    def from_records(
        cls,
        frame: pd.DataFrame,
        x: str = "sharpness_adaptive",
        y: str = "ap_lift_parents",
        *,
        confidence: float = 0.95,
    ) -> PopulationDisplay:
        """Compute the picture of a study's records.

        Parameters
        ----------
        frame : DataFrame
            One row for each run, with columns ``block``, ``optimizer``, x and y.
            Runs without a finite value of both, or with ``status`` "diverged",
            are left out.
        x, y : str
            Numeric columns.
        confidence : float, default=0.95
            Level of the crosses.

        Returns
        -------
        PopulationDisplay
            Ready to plot.

        Raises
        ------
        ParameterError
            If a column is unknown.
        DataError
            If no run has a finite value of both metrics.
        """
        for column in ("block", "optimizer", x, y):
            if column not in frame:
                raise ParameterError(
                    f"frame has no column {column!r}; pass the records that load_records returns."
                )
        values = frame[[x, y]].to_numpy(dtype=float, na_value=np.nan)
        usable = np.isfinite(values).all(axis=1)
        if "status" in frame:
            usable &= (frame["status"] != "diverged").to_numpy()
        if not usable.any():
            raise DataError(f"No run has a finite value of both {x!r} and {y!r}: there is nothing to draw.")
        runs = frame.loc[usable, ["block", "optimizer"]].assign(x=values[usable, 0], y=values[usable, 1])
        log_x = is_wide(runs["x"].min(), runs["x"].max())
        scaled = runs.assign(x=np.log(runs["x"])) if log_x else runs
        centers = pd.DataFrame(
            {
                label: {**_interval("x", group, confidence), **_interval("y", group, confidence)}
                for label, group in scaled.groupby("optimizer", sort=False)
            }
        ).T
        if log_x:
            columns = ["x", "x_low", "x_high"]
            centers[columns] = np.exp(centers[columns])
        return cls(runs=runs, centers=centers, x_name=x, y_name=y, log_x=log_x)

    def plot(self, ax: Axes | None = None) -> PopulationDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure of its own.

        Returns
        -------
        PopulationDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(5.6, 3.9) if ax is None else ax
        if self.log_x:
            ax.set_xscale("log")
        handles = [self._draw(ax, position, str(label)) for position, label in enumerate(self.centers.index)]
        # Names are set afterwards: a legend drops those that begin with an underscore.
        legend = ax.legend(
            handles, ["name"] * len(handles), frameon=False, loc="upper left", bbox_to_anchor=(1, 1)
        )
        for text, label in zip(legend.get_texts(), self.centers.index, strict=True):
            text.set_parse_math(False)  # a user's own name, dollar signs and all
            text.set_text(str(label))
            text.set_color(INK)
        ax.set_xlabel(self.x_name, color=INK, parse_math=False)
        ax.set_ylabel(self.y_name, color=INK, parse_math=False)
        quiet(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw(self, ax: Axes, position: int, label: str):
        color, marker = look(position)
        runs = self.runs[self.runs["optimizer"].astype(str) == label]
        center = self.centers.iloc[position]
        ax.scatter(runs["x"], runs["y"], s=16, color=color, marker=marker, alpha=0.35, linewidths=0)
        ax.plot([center.x_low, center.x_high], [center.y, center.y], color=color, linewidth=1.6)
        ax.plot([center.x, center.x], [center.y_low, center.y_high], color=color, linewidth=1.6)
        (handle,) = ax.plot(
            [center.x], [center.y], color=color, marker=marker, markersize=8, linestyle="none", zorder=3
        )
        return handle


def _interval(name: str, runs: pd.DataFrame, confidence: float) -> dict[str, float]:
    blocks = np.array([block[name].mean() for _, block in runs.groupby("block")])
    n, mean = len(blocks), blocks.mean()
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * blocks.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}
