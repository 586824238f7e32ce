"""How flat the minimum is that a model sits in, for each member."""

from flatcausal.flatness._fisher_rao import fisher_rao_norm
from flatcausal.flatness._gradient_norm import gradient_norm
from flatcausal.flatness._local_energy import local_energy
from flatcausal.flatness._matched_loss import compare_at_matched_loss
from flatcausal.flatness._pac_bayes import pac_bayes_sigma
from flatcausal.flatness._protocol import Protocol
from flatcausal.flatness._relative_flatness import relative_flatness
from flatcausal.flatness._report import flatness_report
from flatcausal.flatness._result import FlatnessResult
from flatcausal.flatness._sharpness import sharpness

__all__ = [
    "FlatnessResult",
    "Protocol",
    "compare_at_matched_loss",
    "fisher_rao_norm",
    "flatness_report",
    "gradient_norm",
    "local_energy",
    "pac_bayes_sigma",
    "relative_flatness",
    "sharpness",
]
