"""Does an importance vector find the causes? Metrics against a known graph, and scorers that use them.

The truth travels inside the scorer, never through ``fit``. Every score here is an
*oracle* score: it needs the true graph, so use it to judge a model, not to choose one.
"""

from __future__ import annotations

from flatcausal.metrics._mass import causal_mass
from flatcausal.metrics._ranking import ap_lift, auroc, average_precision
from flatcausal.metrics._readout import aligned_importances
from flatcausal.metrics._report import TRUTHS, causal_recovery_report
from flatcausal.metrics._roles import Roles
from flatcausal.metrics._scorer import CausalScorer

__all__ = [
    "TRUTHS",
    "CausalScorer",
    "Roles",
    "aligned_importances",
    "ap_lift",
    "auroc",
    "average_precision",
    "causal_mass",
    "causal_recovery_report",
]
