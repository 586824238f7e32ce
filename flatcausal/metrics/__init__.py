"""Does a model find the causes, and does it hold where the data shift? Metrics and scorers that say so.

The truth travels inside the scorer, never through ``fit``. Every recovery score here is an
*oracle* score: it needs the true graph, so use it to judge a model, not to choose one.
"""

from __future__ import annotations

from flatcausal.metrics._curve import RobustnessCurve, robustness_curve
from flatcausal.metrics._effects import effect_spearman, ndcg
from flatcausal.metrics._invariance import invariance_gap
from flatcausal.metrics._mass import causal_mass, mass_lift, role_mass
from flatcausal.metrics._median import MedianFalseRates, median_false_rates
from flatcausal.metrics._oracle import causal_oracle, excess_over_oracle, price_of_causality
from flatcausal.metrics._overlap import rbo
from flatcausal.metrics._ranking import ap_lift, auroc, average_precision
from flatcausal.metrics._readout import aligned_importances
from flatcausal.metrics._report import TRUTHS, causal_recovery_report
from flatcausal.metrics._robustness import RiskReport, worst_case_risk
from flatcausal.metrics._roles import Roles
from flatcausal.metrics._scorer import CausalScorer
from flatcausal.metrics._stability import StabilityResult, selection_stability
from flatcausal.metrics._top_k import precision_at_k, recall_at_k

__all__ = [
    "TRUTHS",
    "CausalScorer",
    "MedianFalseRates",
    "RiskReport",
    "RobustnessCurve",
    "Roles",
    "StabilityResult",
    "aligned_importances",
    "ap_lift",
    "auroc",
    "average_precision",
    "causal_mass",
    "causal_oracle",
    "causal_recovery_report",
    "effect_spearman",
    "excess_over_oracle",
    "invariance_gap",
    "mass_lift",
    "median_false_rates",
    "ndcg",
    "precision_at_k",
    "price_of_causality",
    "rbo",
    "recall_at_k",
    "robustness_curve",
    "role_mass",
    "selection_stability",
    "worst_case_risk",
]
