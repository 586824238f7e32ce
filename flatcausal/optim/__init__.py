"""Optimizers as recipes: hyper-parameters first, a torch optimizer when the model is known."""

from flatcausal.optim._classical import GD, SGD, Adam, Momentum
from flatcausal.optim._entropy_sgd import EntropySGD, EntropySGDOptimizer
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._registry import get, names
from flatcausal.optim._sam import SAM, SAMOptimizer
from flatcausal.optim._target import frozen_statistics

__all__ = [
    "GD",
    "SAM",
    "SGD",
    "Adam",
    "EntropySGD",
    "EntropySGDOptimizer",
    "Momentum",
    "Recipe",
    "SAMOptimizer",
    "frozen_statistics",
    "get",
    "names",
]
