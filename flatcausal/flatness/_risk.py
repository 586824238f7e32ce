"""What a measure of tolerance counts: wrong classes, or the loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from flatcausal._validation import check_choice
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._stack import Weights

Risk = Callable[[Weights], Tensor]


def risk_of(problem: Problem, of: str | None) -> tuple[str, Risk]:
    """Name and function of weights; errors where the target is a class, if None."""
    if of is None:
        of = "loss" if problem.labels is None else "error"
    if check_choice("of", of, ("error", "loss")) == "error":
        return of, problem.errors
    return of, lambda weights: problem.losses(weights, overflow=True)
