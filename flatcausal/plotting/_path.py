"""The loss on ways between two models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from flatcausal._validation import check_integer
from flatcausal.exceptions import DataError, ParameterTypeError
from flatcausal.plotting._style import INK, QUIET, look, new_axes, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES = {"linear": "straight line", "bezier": "Bézier curve"}


class LossPathDisplay:
    """The loss on one or several ways between two models, with the barrier on each.

    Make it with :meth:`from_paths`. The dashed line joins the two ends: a barrier is how far a way rises
    above it.

    Parameters
    ----------
    ways : mapping of str to (ndarray, ndarray, float)
        By name the places, the losses and the barrier.
    bn : str
        How batches were normalised.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import linear_interpolation
    >>> from flatcausal.plotting import LossPathDisplay
    >>> X, ends = torch.eye(3), [torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)]
    >>> path = linear_interpolation(*ends, X, X[:, :1], loss=torch.nn.MSELoss())
    >>> display = LossPathDisplay.from_paths(path).plot()
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['straight line, barrier 0']
    """

    def __init__(self, *, ways: Mapping[str, tuple[np.ndarray, np.ndarray, float]], bn: str):
        self.ways = ways
        self.bn = bn

    @classmethod
    def from_paths(cls, paths: Any, member: int = 0) -> LossPathDisplay:
        """Take one member's ways.

        Parameters
        ----------
        paths : LossPath or mapping of str to LossPath
            What :func:`flatcausal.flatness.linear_interpolation` or :func:`flatcausal.flatness.bezier_curve`
            returns, or several by name.
        member : int, default=0
            Which member.

        Returns
        -------
        LossPathDisplay
            Ready to plot.

        Raises
        ------
        ParameterError
            If there is no such member.
        ParameterTypeError
            If paths are something else.
        DataError
            If there are none, or batches were not normalised alike.
        """
        for path in paths.values() if isinstance(paths, Mapping) else [paths]:
            if not hasattr(path, "barrier"):
                raise ParameterTypeError(
                    f"paths must be a LossPath or map names to some, got {type(path).__name__}."
                )
        if not isinstance(paths, Mapping):
            paths = {_NAMES[paths.kind]: paths}
        modes = {path.bn for path in paths.values()}
        if len(modes) != 1:
            raise DataError(
                f"paths must hold at least one, all under the same bn, "
                f"got {', '.join(sorted(modes)) or 'none'}."
            )
        ways = {}
        for name, path in paths.items():
            k = check_integer("member", member, low=0, high=len(path.losses) - 1)
            ways[str(name)] = (path.t, path.losses[k], float(path.barrier[k]))
        return cls(ways=ways, bn=modes.pop())

    def plot(self, ax: Axes | None = None) -> LossPathDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure of its own.

        Returns
        -------
        LossPathDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(6.8, 3.2) if ax is None else ax
        for position, (name, (t, losses, barrier)) in enumerate(self.ways.items()):
            color, marker = look(position)
            ax.plot(
                t,
                losses,
                color=color,
                marker=marker,
                markersize=4,
                linewidth=1.5,
                label=f"{name}, barrier {barrier:.3g}",
            )
            ax.plot(t[[0, -1]], losses[[0, -1]], color=QUIET, linewidth=1, linestyle="--", zorder=1)
        ax.set_xlabel("t, from the first model to the second", color=INK)
        ax.set_ylabel("loss", color=INK)
        ax.set_title(f"BatchNorm: {self.bn}", color=INK, fontsize=9, loc="left")
        ax.legend(frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1))
        quiet(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self
