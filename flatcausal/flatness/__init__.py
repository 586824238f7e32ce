"""How flat the minimum is that a model sits in, for each member."""

from flatcausal.flatness._sharpness import SharpnessResult, sharpness

__all__ = ["SharpnessResult", "sharpness"]
