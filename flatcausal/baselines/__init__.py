"""What every claim about importances is held against: simple baselines, causal discovery, and the oracle."""

from __future__ import annotations

from flatcausal.baselines._importances import baseline_importances
from flatcausal.baselines._methods import METHODS

__all__ = ["METHODS", "baseline_importances"]
