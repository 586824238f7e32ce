"""The loss along a few directions, and along paths between two models."""

from flatcausal.flatness.surfaces._bezier import bezier_curve
from flatcausal.flatness.surfaces._interpolation import linear_interpolation
from flatcausal.flatness.surfaces._records import LossPath, LossSlice, LossSurface
from flatcausal.flatness.surfaces._slice import loss_slice
from flatcausal.flatness.surfaces._surface import loss_surface

__all__ = [
    "LossPath",
    "LossSlice",
    "LossSurface",
    "bezier_curve",
    "linear_interpolation",
    "loss_slice",
    "loss_surface",
]
