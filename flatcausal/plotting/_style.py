"""What all pictures share: colours that colour-blind readers can tell apart, and quiet axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito (2008), without its yellow and black, which vanish on white or dark paper.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK = "#1f2328"
QUIET = "#8b949e"


def look(position: int) -> tuple[str, str]:
    """Return the colour and marker of the optimizer at a position; 42 differ before one repeats."""
    return PALETTE[position % len(PALETTE)], MARKERS[position % len(MARKERS)]


def new_axes(width: float, height: float) -> Axes:
    """Return axes on a figure of their own, which no pyplot state knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def quiet(ax: Axes) -> None:
    """Leave of the frame what carries the scales."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(color=QUIET, labelcolor=INK, which="both")
