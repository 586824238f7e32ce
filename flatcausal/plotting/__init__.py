"""Pictures as Display objects; matplotlib is imported when one is drawn."""

from __future__ import annotations

from flatcausal.plotting._dag import DAGDisplay
from flatcausal.plotting._difference import DifferenceDisplay
from flatcausal.plotting._path import LossPathDisplay
from flatcausal.plotting._population import PopulationDisplay
from flatcausal.plotting._spectrum import SpectrumDisplay
from flatcausal.plotting._surface import LossSurfaceDisplay

__all__ = [
    "DAGDisplay",
    "DifferenceDisplay",
    "LossPathDisplay",
    "LossSurfaceDisplay",
    "PopulationDisplay",
    "SpectrumDisplay",
]
