"""Averages by name."""

from __future__ import annotations

from flatcausal._validation import check_choice
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim.averaging._ema import EMA
from flatcausal.optim.averaging._lawa import LAWA
from flatcausal.optim.averaging._recipe import AveragingRecipe
from flatcausal.optim.averaging._swa import SWA
from flatcausal.optim.averaging._swad import SWAD

_RECIPES: dict[str, type[AveragingRecipe]] = {"ema": EMA, "lawa": LAWA, "swa": SWA, "swad": SWAD}


def names() -> list[str]:
    """Names that ``averaging=`` accepts, sorted."""
    return sorted(_RECIPES)


def get(averaging: str | AveragingRecipe) -> AveragingRecipe:
    """Turn a name into a recipe with default hyper-parameters; a recipe is returned as it is.

    Raises
    ------
    ParameterError
        If no recipe has that name.
    ParameterTypeError
        If it is neither a name nor a recipe.

    Examples
    --------
    >>> from flatcausal.optim import averaging
    >>> averaging.get("swa")
    SWA()
    """
    if isinstance(averaging, AveragingRecipe):
        return averaging
    if isinstance(averaging, str):
        return _RECIPES[check_choice("averaging", averaging, names())]()
    raise ParameterTypeError(
        f"averaging must be one of {', '.join(names())}, or a recipe such as EMA(decay=0.99), got "
        f"{averaging!r}."
    )
