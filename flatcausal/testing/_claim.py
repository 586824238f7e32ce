"""How a check speaks."""

from __future__ import annotations

from flatcausal.optim import Recipe


def called(recipe: Recipe) -> str:
    """The recipe on one line."""
    return " ".join(repr(recipe).split())


def claim(holds: bool, recipe: Recipe, fault: str) -> None:
    """Raise an AssertionError that says of the recipe what is wrong, unless it ``holds``."""
    if not holds:
        raise AssertionError(f"{called(recipe)} {fault}")
