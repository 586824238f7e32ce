"""Optimizers as recipes: hyper-parameters first, a torch optimizer when the model is known."""

from flatcausal.optim._adagrad import Adagrad
from flatcausal.optim._adam import Adam
from flatcausal.optim._adamw import AdamW
from flatcausal.optim._asam import ASAM, ASAMOptimizer
from flatcausal.optim._basin_hopping import BasinHopping, BasinHoppingOptimizer
from flatcausal.optim._entropy_sgd import EntropySGD
from flatcausal.optim._entropy_sgd_paper import EntropySGDOptimizer
from flatcausal.optim._entropy_sgd_ucla import ReleasedEntropySGDOptimizer
from flatcausal.optim._foof import FOOF
from flatcausal.optim._foof_optimizer import FOOFOptimizer
from flatcausal.optim._gsam import GSAM, GSAMOptimizer
from flatcausal.optim._noise_in_gradient import NiGGD, NiGOptimizer, NiGSGD
from flatcausal.optim._noise_in_model import NiMGD, NiMOptimizer, NiMSGD
from flatcausal.optim._random_search import RandomSearch, RandomSearchOptimizer
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._registry import get, names
from flatcausal.optim._rmsprop import RMSprop
from flatcausal.optim._sam import SAM, SAMOptimizer
from flatcausal.optim._sgd import GD, SGD, Momentum, Nesterov
from flatcausal.optim._target import frozen_statistics

__all__ = [
    "ASAM",
    "FOOF",
    "GD",
    "GSAM",
    "SAM",
    "SGD",
    "ASAMOptimizer",
    "Adagrad",
    "Adam",
    "AdamW",
    "BasinHopping",
    "BasinHoppingOptimizer",
    "EntropySGD",
    "EntropySGDOptimizer",
    "FOOFOptimizer",
    "GSAMOptimizer",
    "Momentum",
    "Nesterov",
    "NiGGD",
    "NiGOptimizer",
    "NiGSGD",
    "NiMGD",
    "NiMOptimizer",
    "NiMSGD",
    "RMSprop",
    "RandomSearch",
    "RandomSearchOptimizer",
    "Recipe",
    "ReleasedEntropySGDOptimizer",
    "SAMOptimizer",
    "frozen_statistics",
    "get",
    "names",
]
