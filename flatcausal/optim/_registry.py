"""Recipes by name."""

from __future__ import annotations

from collections.abc import Callable

from flatcausal._validation import check_choice
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._adagrad import Adagrad
from flatcausal.optim._adam import Adam
from flatcausal.optim._adamw import AdamW
from flatcausal.optim._asam import ASAM
from flatcausal.optim._basin_hopping import BasinHopping
from flatcausal.optim._entropy_sgd import EntropySGD
from flatcausal.optim._foof import FOOF
from flatcausal.optim._gsam import GSAM
from flatcausal.optim._noise_in_gradient import NiGGD, NiGSGD
from flatcausal.optim._noise_in_model import NiMGD, NiMSGD
from flatcausal.optim._random_search import RandomSearch
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._rmsprop import RMSprop
from flatcausal.optim._sam import SAM
from flatcausal.optim._sgd import GD, SGD, Momentum, Nesterov

_RECIPES: dict[str, Callable[..., Recipe]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
    "asam": ASAM,
    "bh": BasinHopping,
    "entropy_sgd": EntropySGD,
    "foof": FOOF,
    "gd": GD,
    "gsam": GSAM,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "nig_gd": NiGGD,
    "nig_sgd": NiGSGD,
    "nim_gd": NiMGD,
    "nim_sgd": NiMSGD,
    "random_search": RandomSearch,
    "rmsprop": RMSprop,
    "sam": SAM,
    "sgd": SGD,
}


def names() -> list[str]:
    """Names that ``optimizer=`` accepts, sorted."""
    return sorted(_RECIPES)


def get(optimizer: str | Recipe) -> Recipe:
    """Turn a name into a recipe with default hyper-parameters; a recipe is returned as it is.

    Raises
    ------
    ParameterError
        If no recipe has that name.
    ParameterTypeError
        If it is neither a name nor a recipe.

    Examples
    --------
    >>> from flatcausal.optim import get
    >>> get("momentum")
    Momentum()
    """
    if isinstance(optimizer, Recipe):
        return optimizer
    if isinstance(optimizer, str):
        return _RECIPES[check_choice("optimizer", optimizer, names())]()
    raise ParameterTypeError(
        f"optimizer must be one of {', '.join(names())} or a recipe such as SAM(rho=0.1), got {optimizer!r}."
    )
