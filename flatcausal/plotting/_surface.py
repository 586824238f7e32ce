"""The loss on a plane through a model's weights, as contours or as a relief."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from flatcausal._validation import check_choice, check_integer
from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.plotting._levels import COLORS, contour_levels, norm_of
from flatcausal.plotting._relief import draw_on_relief, draw_relief, relief_axes
from flatcausal.plotting._style import INK, PALETTE, QUIET, new_axes, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NOT_FINITE = "#d7dbe0"
_CENTRE = {"marker": "+", "color": "white", "markersize": 11, "markeredgewidth": 2.0, "linestyle": "none"}
_LOWEST = {
    "marker": "o",
    "color": "white",
    "markerfacecolor": "none",
    "markersize": 9,
    "markeredgewidth": 1.4,
    "linestyle": "none",
}
_PATH = {"color": PALETTE[1], "linewidth": 1.6, "marker": "o", "markersize": 3.5}
_DIRECTIONS = {
    "filter": ("filter-normalised random directions", "random direction {i}", ""),
    "hessian": ("top Hessian eigenvectors", "eigenvector {i}", " (λ = {value:.3g})"),
    "trajectory": (
        "principal directions of the path",
        "principal direction {i}",
        " ({value:.0%} of the path)",
    ),
    "given": ("given directions", "direction {i}", ""),
}
_BN = {
    "frozen": "BatchNorm: frozen",
    "recalibrated": "BatchNorm: recalibrated at each point",
    "train": "BatchNorm: of the batch",
}


class LossSurfaceDisplay:
    """The loss on a plane through a model's weights.

    Make it with :meth:`from_surface`. A white cross is the model, a line with dots the training's path; among
    contours a ring is the lowest point of the grid, and grey is not finite. The title tells the kind of
    directions and how batches were normalised: pictures compare only where both are the same, and side by
    side only with the same ``vmin`` and ``vmax``. Two directions of many are no measure of flatness.

    Parameters
    ----------
    alphas, betas : ndarray of shape (R,)
        Places along the two directions.
    losses : ndarray of shape (R, R)
        ``losses[i, j]`` at ``alphas[i]`` and ``betas[j]``.
    loss : float
        At the model itself.
    directions : str
        Kind of directions.
    bn : str
        How batches were normalised.
    path : ndarray of shape (T, 2) or None, default=None
        Training's path to (0, 0).
    values : sequence of 2 floats or None, default=None
        Of each direction its eigenvalue, or what it explains of the path.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.flatness import loss_surface
    >>> from flatcausal.plotting import LossSurfaceDisplay
    >>> model, X = torch.nn.Linear(3, 2), torch.eye(3)
    >>> surface = loss_surface(model, X, X[:, :2], 5, loss=torch.nn.MSELoss(), random_state=0)
    >>> display = LossSurfaceDisplay.from_surface(surface).plot()
    >>> display.ax_.get_xlabel()
    'random direction 1'
    """

    def __init__(
        self,
        *,
        alphas: np.ndarray,
        betas: np.ndarray,
        losses: np.ndarray,
        loss: float,
        directions: str,
        bn: str,
        path: np.ndarray | None = None,
        values: Sequence[float] | None = None,
    ):
        self.alphas = alphas
        self.betas = betas
        self.losses = losses
        self.loss = loss
        self.directions = directions
        self.bn = bn
        self.path = path
        self.values = values

    @classmethod
    def from_surface(cls, surface: Any, member: int = 0) -> LossSurfaceDisplay:
        """Take one member's picture.

        Parameters
        ----------
        surface : LossSurface
            What :func:`flatcausal.flatness.loss_surface` returns.
        member : int, default=0
            Which member.

        Returns
        -------
        LossSurfaceDisplay
            Ready to plot.

        Raises
        ------
        ParameterError
            If there is no such member.
        ParameterTypeError
            If surface is something else.
        DataError
            If none of its losses is finite.
        """
        if not hasattr(surface, "directions"):
            raise ParameterTypeError(
                f"surface must be what loss_surface returns, got {type(surface).__name__}."
            )
        member = check_integer("member", member, low=0, high=len(surface.losses) - 1)
        if not np.isfinite(surface.losses[member]).any():
            raise DataError(f"No loss of member {member} is finite: draw another one.")
        values = surface.explained if surface.directions == "trajectory" else surface.eigenvalues
        return cls(
            alphas=surface.alphas[member],
            betas=surface.betas[member],
            losses=surface.losses[member],
            loss=float(surface.loss[member]),
            directions=surface.directions,
            bn=surface.bn,
            path=None if surface.path is None else surface.path[member],
            values=None if values is None else [float(value) for value in values[member]],
        )

    def plot(
        self,
        ax: Axes | None = None,
        *,
        kind: str = "contour",
        levels: int | ArrayLike | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
        colorbar: bool = True,
    ) -> LossSurfaceDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on, with ``projection="3d"`` for a relief; None makes a figure of its own.
        kind : {"contour", "3d"}, default="contour"
            Contours, or a relief.
        levels : int or array-like, default=None
            How many contours, or at which losses. 14 if None, at equal ratios where losses span more than a
            factor of 20, else at equal distances.
        vmin, vmax : float or None, default=None
            The range of colours and contours, its own losses' if None; pass the same ones to pictures side by
            side. What is higher is drawn as vmax.
        colorbar : bool, default=True
            Draw the scale of colours beside the axes.

        Returns
        -------
        LossSurfaceDisplay
            Itself, with ``ax_`` and ``figure_``.

        Raises
        ------
        ParameterError
            If kind is unknown, the range or the levels do not rise, or a relief is asked for on plane axes.
        """
        kind = check_choice("kind", kind, ("contour", "3d"))
        edges = contour_levels(self.losses, levels, vmin, vmax)
        if ax is None:
            ax = relief_axes() if kind == "3d" else new_axes(5.2, 4.3)
        assert ax is not None
        colors = self._relief(ax, edges) if kind == "3d" else self._contours(ax, edges)
        self._label(ax)
        if colorbar:
            self._colorbar(ax, colors, edges)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _relief(self, ax: Any, edges: np.ndarray) -> Any:
        if not hasattr(ax, "plot_surface"):
            raise ParameterError("ax must be made with projection='3d' for kind='3d', or be None.")
        grid = (self.alphas, self.betas, self.losses)
        colors = draw_relief(ax, *grid, edges)
        if self.path is not None:
            draw_on_relief(ax, self._way(), grid, edges, **_PATH)
        draw_on_relief(ax, np.zeros((1, 2)), grid, edges, **_outlined(_CENTRE))
        return colors

    def _contours(self, ax: Axes, edges: np.ndarray) -> Any:
        # Clipped, so that what lies beyond the range has the colour of its end.
        finite = np.isfinite(self.losses)
        heights = np.ma.array(np.where(finite, self.losses, 0).clip(edges[0], edges[-1]), mask=~finite).T
        ax.set_facecolor(_NOT_FINITE)
        norm = norm_of(edges)
        filled = ax.contourf(self.alphas, self.betas, heights, edges, cmap=COLORS, norm=norm)
        ax.contour(self.alphas, self.betas, heights, edges[1:-1], colors="white", linewidths=0.5, alpha=0.5)
        if self.path is not None:
            way = self._way()
            ax.plot(way[:, 0], way[:, 1], color="white", linewidth=3.4, zorder=3)
            ax.plot(way[:, 0], way[:, 1], zorder=4, **_PATH)
        i, j = np.unravel_index(np.where(finite, self.losses, np.inf).argmin(), self.losses.shape)
        ax.plot(self.alphas[i], self.betas[j], zorder=5, clip_on=False, **_outlined(_LOWEST))
        ax.plot(0, 0, zorder=6, **_outlined(_CENTRE))
        ax.set_xlim(self.alphas[0], self.alphas[-1])
        ax.set_ylim(self.betas[0], self.betas[-1])
        quiet(ax)
        return filled

    def _way(self) -> np.ndarray:
        assert self.path is not None
        return np.concatenate([self.path, np.zeros((1, 2))])

    def _label(self, ax: Axes) -> None:
        title, axis, more = _DIRECTIONS[self.directions]
        shown = more if self.values is not None and ax.name != "3d" else ""  # where there is little room
        values = (np.nan, np.nan) if self.values is None else self.values
        texts = [(axis + shown).format(i=i, value=value) for i, value in enumerate(values, start=1)]
        ax.set_xlabel(texts[0], color=INK)
        ax.set_ylabel(texts[1], color=INK)
        ax.set_title(f"{title}\n{_BN[self.bn]}", color=INK, fontsize=9, loc="left")

    def _colorbar(self, ax: Axes, colors: Any, edges: np.ndarray) -> None:
        bar = ax.figure.colorbar(colors, ax=ax, shrink=0.85, ticks=edges[:: max(1, len(edges) // 6)])
        bar.ax.set_yticklabels([f"{edge:.3g}" for edge in edges[:: max(1, len(edges) // 6)]])
        bar.ax.minorticks_off()
        bar.set_label("loss", color=INK)
        bar.outline.set_edgecolor(QUIET)
        bar.ax.tick_params(color=QUIET, labelcolor=INK)


def _outlined(look: dict[str, Any]) -> dict[str, Any]:
    """White with a dark rim, to be seen on any colour."""
    from matplotlib.patheffects import withStroke

    return {**look, "path_effects": [withStroke(linewidth=look["markeredgewidth"] + 1.8, foreground=INK)]}
