"""Paired differences as a forest: estimate and interval for each pair, and the line of no difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from flatcausal.exceptions import DataError, ParameterError
from flatcausal.plotting._style import INK, PALETTE, QUIET, new_axes, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NEEDED = ("optimizer_a", "optimizer_b", "metric", "estimate", "ci_low", "ci_high", "verdict")


class DifferenceDisplay:
    """Differences of one metric between optimizers.

    Make it with :meth:`from_comparison`. A filled point is a difference that
    was shown, a hollow one is not; an arrow marks an interval without an end.

    Parameters
    ----------
    differences : DataFrame
        One row for each pair: ``label``, ``estimate``, ``ci_low``,
        ``ci_high``, ``shown``.
    metric : str
        The metric's name, for the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import pandas as pd
    >>> from flatcausal.plotting import DifferenceDisplay
    >>> comparison = pd.DataFrame({
    ...     "optimizer_a": ["sam", "adam"], "optimizer_b": "sgd", "metric": "iid_risk",
    ...     "estimate": [-0.2, 0.1], "ci_low": [-0.3, -0.1], "ci_high": [-0.1, 0.2],
    ...     "verdict": ["a lower", "no difference shown"],
    ... })
    >>> display = DifferenceDisplay.from_comparison(comparison).plot()
    >>> [tick.get_text() for tick in display.ax_.get_yticklabels()]
    ['sam − sgd', 'adam − sgd']
    """

    def __init__(self, *, differences: pd.DataFrame, metric: str):
        self.differences = differences
        self.metric = metric

    @classmethod
    def from_comparison(cls, frame: pd.DataFrame) -> DifferenceDisplay:
        """Take the picture's numbers from a comparison.

        Parameters
        ----------
        frame : DataFrame
            What :func:`flatcausal.study.compare` returns, for one metric.

        Returns
        -------
        DifferenceDisplay
            Ready to plot.

        Raises
        ------
        ParameterError
            If a column is missing, or if the rows speak of several metrics.
        DataError
            If there are no rows.
        """
        for column in _NEEDED:
            if column not in frame:
                raise ParameterError(f"frame has no column {column!r}; pass what compare returns.")
        if frame.empty:
            raise DataError("frame holds no pairs; pass what compare returns.")
        metrics = frame["metric"].unique()
        if len(metrics) > 1:
            raise ParameterError(f"frame must hold one metric, got {', '.join(metrics)}: draw one at a time.")
        differences = frame[["estimate", "ci_low", "ci_high"]].assign(
            label=[f"{a} − {b}" for a, b in zip(frame["optimizer_a"], frame["optimizer_b"], strict=True)],
            shown=frame["verdict"].isin(["a higher", "a lower"]),
        )
        return cls(differences=differences.reset_index(drop=True), metric=str(metrics[0]))

    def plot(self, ax: Axes | None = None) -> DifferenceDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure of its own.

        Returns
        -------
        DifferenceDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        table = self.differences
        ax = new_axes(4.2, 0.7 + 0.32 * len(table)) if ax is None else ax
        limit = self._limit()
        ax.set_xlim(-limit, limit)
        ax.set_ylim(len(table) - 0.5, -0.5)
        ax.axvline(0, color=QUIET, linewidth=1)
        for position, row in enumerate(table.itertuples()):
            self._draw(ax, position, row, limit)
        ax.set_yticks(range(len(table)), list(table["label"]))
        for text in ax.get_yticklabels():
            text.set_parse_math(False)
        ax.set_xlabel(self.metric, color=INK, parse_math=False)
        quiet(ax)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=5)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _limit(self) -> float:
        """Zero stays in the middle, so that the side is seen at a glance."""
        ends = self.differences[["estimate", "ci_low", "ci_high"]].to_numpy(dtype=float)
        finite = np.abs(ends[np.isfinite(ends)])
        return 1.15 * float(finite.max()) if finite.any() else 1.0

    @staticmethod
    def _draw(ax: Axes, position: int, row, limit: float) -> None:
        if np.isnan(row.estimate):
            ax.text(0, position, "no data", color=QUIET, ha="center", va="center", fontstyle="italic")
            return
        color = PALETTE[0] if row.shown else QUIET
        ends = np.clip([row.ci_low, row.ci_high], -limit, limit)
        ax.plot(ends, [position, position], color=color, linewidth=2, solid_capstyle="butt")
        for end, marker in ((row.ci_low, "<"), (row.ci_high, ">")):
            if np.isinf(end):
                place = np.clip(end, -limit, limit)
                ax.plot([place], [position], marker=marker, color=color, markersize=6, clip_on=False)
        face = color if row.shown else "none"
        ax.plot([row.estimate], [position], marker="o", color=color, markerfacecolor=face, markersize=7)
