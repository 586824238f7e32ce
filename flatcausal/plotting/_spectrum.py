"""How the eigenvalues of the Hessian are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flatcausal._validation import check_integer
from flatcausal.exceptions import DataError, ParameterError
from flatcausal.plotting._style import INK, PALETTE, QUIET, new_axes, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TALLEST = 3.0  # times the highest density, the top of the axis
_SMALLEST = 0.2  # of a single eigenvalue's height, the bottom


class SpectrumDisplay:
    """The density of the Hessian's eigenvalues on a logarithmic scale.

    Make it with :meth:`from_density`. The band is a standard error either way over random starts, the dotted
    line the height of a single eigenvalue: what lies below it is a tail of the smoothing.

    Parameters
    ----------
    grid, density, error : ndarray of shape (n_points,)
        Eigenvalues, their density and its standard error.
    single : float
        Height of one eigenvalue.
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
    >>> from flatcausal.flatness import spectral_density
    >>> from flatcausal.plotting import SpectrumDisplay
    >>> model, X = torch.nn.Linear(3, 1), torch.eye(3)
    >>> found = spectral_density(model, X, X[:, :1], loss=torch.nn.MSELoss(), random_state=0)
    >>> SpectrumDisplay.from_density(found).plot().ax_.get_yscale()
    'log'
    """

    def __init__(self, *, grid: np.ndarray, density: np.ndarray, error: np.ndarray, single: float, bn: str):
        self.grid = grid
        self.density = density
        self.error = error
        self.single = single
        self.bn = bn

    @classmethod
    def from_density(cls, result: Any, member: int = 0) -> SpectrumDisplay:
        """Take one member's spectrum.

        Parameters
        ----------
        result : FlatnessResult
            What :func:`flatcausal.flatness.spectral_density` returns.
        member : int, default=0
            Which member.

        Returns
        -------
        SpectrumDisplay
            Ready to plot.

        Raises
        ------
        ParameterError
            If the result is another measure's, or there is no such member.
        DataError
            If the member has no spectrum.
        """
        if getattr(result, "measure", None) != "spectral_density":
            raise ParameterError("result must be what spectral_density returns.")
        member = check_integer("member", member, low=0, high=len(result.value) - 1)
        if not np.isfinite(result.value[member]).all():
            raise DataError(f"The density of member {member} is not finite: draw another one.")
        sigma = float(result.details["sigma"][member])
        return cls(
            grid=result.details["grid"][member],
            density=result.value[member],
            error=result.standard_error[member],
            single=1 / (result.n_parameters * sigma * np.sqrt(2 * np.pi)),
            bn=result.bn,
        )

    def plot(self, ax: Axes | None = None, *, label: str | None = None) -> SpectrumDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a figure of its own. Spectra drawn on the same axes take colours in
            turn.
        label : str or None, default=None
            Name for the legend.

        Returns
        -------
        SpectrumDisplay
            Itself, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(5.6, 3.4) if ax is None else ax
        shared = [line for line in ax.lines if line.get_gid() == "spectrum"]
        color = PALETTE[len(shared) % len(PALETTE)]
        low, high = _SMALLEST * self.single, _TALLEST * float(self.density.max())
        if shared:
            low, high = min(low, ax.get_ylim()[0]), max(high, ax.get_ylim()[1])
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        seen = self.grid[self.density > low]
        margin = 0.04 * np.ptp(self.grid)
        left, right = float(seen[0] - margin), float(seen[-1] + margin)
        if shared:
            left, right = min(left, ax.get_xlim()[0]), max(right, ax.get_xlim()[1])
        below, above = ((self.density + sign * self.error).clip(low / 10) for sign in (-1, 1))
        ax.fill_between(self.grid, below, above, color=color, alpha=0.2, linewidth=0)
        ax.plot(
            self.grid, self.density.clip(low / 10), color=color, linewidth=1.5, label=label, gid="spectrum"
        )
        ax.axhline(self.single, color=color if shared else QUIET, linewidth=0.9, linestyle=":")
        if not shared:
            ax.annotate(
                "one eigenvalue",
                (0, self.single),
                (3, 2),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="left",
                va="bottom",
                fontsize=8,
                color=QUIET,
            )
        ax.set_xlim(left, right)
        ax.set_xlabel("eigenvalue of the Hessian", color=INK)
        ax.set_ylabel("density", color=INK)
        ax.set_title(f"BatchNorm: {self.bn}", color=INK, fontsize=9, loc="left")
        quiet(ax)
        if label is not None:
            ax.legend(frameon=False, labelcolor=INK)
        self.ax_, self.figure_ = ax, ax.figure
        return self
