"""Pictures as Display objects; matplotlib is imported when one is drawn."""

from __future__ import annotations

from flatcausal.plotting._dag import DAGDisplay
from flatcausal.plotting._difference import DifferenceDisplay
from flatcausal.plotting._population import PopulationDisplay

__all__ = ["DAGDisplay", "DifferenceDisplay", "PopulationDisplay"]
