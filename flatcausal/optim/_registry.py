"""Recipes by name."""

from __future__ import annotations

from collections.abc import Callable

from flatcausal._validation import check_choice
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._classical import GD, SGD, Adam, Momentum
from flatcausal.optim._entropy_sgd import EntropySGD
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._sam import SAM

_RECIPES: dict[str, Callable[..., Recipe]] = {
    "adam": Adam,
    "entropy_sgd": EntropySGD,
    "gd": GD,
    "momentum": Momentum,
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
