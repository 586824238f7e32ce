"""How flat the minimum is that a model sits in, for each member."""

from flatcausal.flatness._eigenvalues import hessian_top_eigenvalues
from flatcausal.flatness._fisher_rao import fisher_rao_norm
from flatcausal.flatness._gradient_norm import gradient_norm
from flatcausal.flatness._local_energy import local_energy
from flatcausal.flatness._local_entropy import local_entropy
from flatcausal.flatness._matched_loss import compare_at_matched_loss
from flatcausal.flatness._pac_bayes import pac_bayes_sigma
from flatcausal.flatness._protocol import Protocol
from flatcausal.flatness._relative_flatness import relative_flatness
from flatcausal.flatness._report import flatness_report, measure_names
from flatcausal.flatness._result import FlatnessResult
from flatcausal.flatness._sharpness import sharpness
from flatcausal.flatness._spectral_density import spectral_density
from flatcausal.flatness._trace import hessian_trace
from flatcausal.flatness.surfaces import (
    LossPath,
    LossSlice,
    LossSurface,
    bezier_curve,
    linear_interpolation,
    loss_slice,
    loss_surface,
)

__all__ = [
    "FlatnessResult",
    "LossPath",
    "LossSlice",
    "LossSurface",
    "Protocol",
    "bezier_curve",
    "compare_at_matched_loss",
    "fisher_rao_norm",
    "flatness_report",
    "gradient_norm",
    "hessian_top_eigenvalues",
    "hessian_trace",
    "linear_interpolation",
    "local_energy",
    "local_entropy",
    "loss_slice",
    "loss_surface",
    "measure_names",
    "pac_bayes_sigma",
    "relative_flatness",
    "sharpness",
    "spectral_density",
]
