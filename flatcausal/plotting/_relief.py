"""The loss on a plane as a relief."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from flatcausal.plotting._levels import COLORS, is_wide, norm_of
from flatcausal.plotting._style import INK, QUIET, new_axes

_VIEW = (38, -60)  # elevation and azimuth in degrees


def relief_axes() -> Any:
    """Axes in three dimensions on a figure of their own."""
    flat = new_axes(5.4, 4.4)
    figure = flat.figure
    flat.remove()
    return figure.add_subplot(projection="3d")


def draw_relief(
    ax: Any, alphas: np.ndarray, betas: np.ndarray, losses: np.ndarray, levels: np.ndarray
) -> Any:
    """Draw heights within the levels, in their logarithm where they span much; holes are not finite."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable

    norm = norm_of(levels)
    ax.computed_zorder = False  # lines lie on the relief, and are never hidden by it
    colors = colormaps[COLORS](
        norm(np.where(np.isfinite(losses), losses, levels[-1]).clip(levels[0], levels[-1]))
    )
    a, b = np.meshgrid(alphas, betas, indexing="ij")
    ax.plot_surface(
        a,
        b,
        _heights(losses, levels),
        facecolors=colors,
        rstride=1,
        cstride=1,
        linewidth=0.2,
        edgecolor="#ffffff40",
        shade=False,
    )
    if is_wide(levels[0], levels[-1]):
        ax.zaxis.set_major_formatter(lambda height, _: f"{10**height:.3g}")
    ax.view_init(*_VIEW)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.line.set_color(QUIET)
        axis._axinfo["grid"].update(color="#e4e7eb", linewidth=0.6)
    ax.tick_params(colors=INK, labelsize=8, pad=1)
    ax.locator_params(axis="both", nbins=5)
    ax.set_box_aspect(None, zoom=0.88)  # the layout does not see the labels
    return ScalarMappable(norm, COLORS)


def draw_on_relief(
    ax: Any,
    places: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
    levels: np.ndarray,
    **look: Any,
) -> None:
    """Draw a line on the relief of losses over two axes; what leaves these is left out."""
    alphas, betas, losses = grid
    relief = RegularGridInterpolator(
        (alphas, betas), _heights(losses, levels), bounds_error=False, fill_value=np.nan
    )
    ax.plot(places[:, 0], places[:, 1], relief(places), zorder=10, **look)


def _heights(losses: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Losses within the levels, on their scale; NaN where one is not finite."""
    heights = np.where(np.isfinite(losses), losses, np.nan).clip(levels[0], levels[-1])
    return np.log10(heights) if is_wide(levels[0], levels[-1]) else heights
