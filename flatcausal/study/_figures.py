"""The report's pictures: inline SVG that takes its colours and letters from the page."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup, escape

from flatcausal.plotting import DifferenceDisplay, PopulationDisplay
from flatcausal.plotting._style import INK, PALETTE, QUIET
from flatcausal.study._headlines import Headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

# The page defines these variables once for light and once for dark paper.
_VARIABLES = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    **{color: f"var(--series-{position})" for position, color in enumerate(PALETTE)},
}


def population_figure(frame: pd.DataFrame, x: Headline, y: Headline) -> Markup:
    """Draw one metric against another, every run and every optimizer."""
    display = PopulationDisplay.from_records(frame, x.key, y.key).plot()
    display.ax_.set_xlabel(f"{x.title}{' (log scale)' if display.log_x else ''}")
    display.ax_.set_ylabel(y.title)
    return inline_svg(display.figure_, f"{y.title} against {x.title.lower()}, by optimizer", "population")


def difference_figure(comparison: pd.DataFrame, headline: Headline) -> Markup:
    """Draw the differences from the control on one metric."""
    display = DifferenceDisplay.from_comparison(comparison).plot()
    display.ax_.set_xlabel(headline.title)
    return inline_svg(display.figure_, f"Differences of {headline.title}", headline.key)


def inline_svg(figure: Figure | SubFigure, label: str, salt: str) -> Markup:
    """Return a figure as an SVG element that can stand in a page beside others.

    Parameters
    ----------
    figure : matplotlib Figure
        The figure.
    label : str
        What a reader hears who cannot see it.
    salt : str
        Differs from figure to figure, so that no two elements of a page share an id.
    """
    import matplotlib

    page = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        # The reader's browser has the letters that matplotlib's own font may lack.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.figure.savefig(page, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = page.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(f": {color}", f": {variable}")
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))
