"""The loss around networks trained with and without SAM, side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from flatcausal.flatness import LossSurface
from flatcausal.plotting import LossSurfaceDisplay
from sharpness_with_and_without_sam.pairs import SHORT, WITH


def draw(model: str, surfaces: Mapping[tuple[str, str, str], LossSurface]) -> bytes:
    """A PNG: a row an optimizer, without and with SAM, all on one scale of colours."""
    bases = list(dict.fromkeys(base for name, base, _ in surfaces if name == model))
    chosen = {(base, run): surfaces.get((model, base, run)) for base in bases for run in (SHORT, WITH)}
    heights = np.concatenate([s.losses[np.isfinite(s.losses)] for s in chosen.values() if s is not None])
    figure = Figure(figsize=(9.5, 4 * len(bases)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(bases), 2, squeeze=False)
    for ax, ((base, run), surface) in zip(axes.flat, chosen.items(), strict=True):
        if surface is None:
            ax.set_title(f"{model}, {base}{run}: diverged", fontsize=9, loc="left")
            ax.set_axis_off()
            continue
        display = LossSurfaceDisplay.from_surface(surface)
        # The scale stands beside the last column, and holds for all.
        display.plot(ax, vmin=float(heights.min()), vmax=float(heights.max()), colorbar=run == WITH)
        loss = f"training loss {display.loss:.3g}"
        ax.set_title(f"{model}, {base}{run}, {loss}\n{ax.get_title(loc='left')}", fontsize=9, loc="left")
    page = io.BytesIO()
    figure.savefig(page, format="png", dpi=100)
    return page.getvalue()
