"""How nodes and edges of a causal graph look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flatcausal.plotting._style import INK, PALETTE, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY = PALETTE

#: Fill, and edge where there is no fill. Causes are blue, effects red.
LOOKS = {
    "target": (INK, INK),
    "parent": (_BLUE, _BLUE),
    "ancestor": (_SKY, _SKY),
    "child": (_RED, _RED),
    "descendant": (_ORANGE, _ORANGE),
    "spouse": (_GREEN, _GREEN),
    "sibling": (_PINK, _PINK),
    "irrelevant": (QUIET, QUIET),
    "distractor": ("none", QUIET),
    "hidden": ("none", INK),
    "node": (QUIET, QUIET),
}
_FAINT = "#c3c8ce"
_PLAIN, _SMALLEST, _LARGEST = 150.0, 25.0, 700.0  # areas in square points


class Mark(NamedTuple):
    """One node as it is drawn."""

    label: str
    place: tuple[float, float]
    role: str
    area: float

    @property
    def radius(self) -> float:
        """In points; an area is that of the square around the circle."""
        return float(np.sqrt(self.area)) / 2


def area(importance: float, largest: float) -> float:
    """Return the area of a node, in proportion to its importance."""
    if np.isnan(importance):
        return _PLAIN
    return max(_LARGEST * importance / largest, _SMALLEST) if largest > 0 else _SMALLEST


def look(role: str) -> dict[str, Any]:
    """Return how markers of a role look, for matplotlib's ``scatter``."""
    fill, edge = LOOKS[role]
    return {
        "facecolor": fill,
        "edgecolor": edge,
        "marker": "s" if role == "target" else "o",
        "linestyle": "--" if role == "hidden" else "-",
    }


def draw_edge(ax: Axes, cause: Mark, effect: Mark) -> None:
    """Draw an arrow from rim to rim."""
    own = "target" in (cause.role, effect.role)
    bend = min(0.06 * (effect.place[0] - cause.place[0]), 0.25)  # a long edge goes round what stands between
    arrow = {
        "arrowstyle": "-|>",
        "color": INK if own else _FAINT,
        "linewidth": 1.2 if own else 0.9,
        "linestyle": "--" if cause.role == "hidden" else "-",
        "connectionstyle": f"arc3,rad={bend}",
        "shrinkA": cause.radius + 1,
        "shrinkB": effect.radius + 2,
    }
    ax.annotate("", effect.place, cause.place, arrowprops=arrow, zorder=2 if own else 1)


def draw_node(ax: Axes, mark: Mark) -> None:
    """Draw a node and, beneath it, its name."""
    ax.scatter(*mark.place, s=mark.area, zorder=3, **look(mark.role))
    ax.annotate(
        mark.label,
        mark.place,
        (0, -mark.radius - 1),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=8,
        fontweight="bold" if mark.role == "target" else "normal",
        color=INK,
        parse_math=False,  # a user's own name, dollar signs and all
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.3},
        zorder=4,
    )
