"""Test functions of two variables whose minima are known, and where optimizers end on them."""

from flatcausal.optim.landscapes._compare import HomogeneityTest, chi_square_test, total_variation
from flatcausal.optim.landscapes._functions import HIMMELBLAU, SIX_HUMP_CAMEL, THREE_HUMP_CAMEL, Landscape
from flatcausal.optim.landscapes._stationary import StationaryDistribution, stationary_distribution

__all__ = [
    "HIMMELBLAU",
    "SIX_HUMP_CAMEL",
    "THREE_HUMP_CAMEL",
    "HomogeneityTest",
    "Landscape",
    "StationaryDistribution",
    "chi_square_test",
    "stationary_distribution",
    "total_variation",
]
