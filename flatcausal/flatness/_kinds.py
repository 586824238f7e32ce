"""The kinds of sharpness by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from flatcausal.exceptions import ParameterError
from flatcausal.flatness._average import average
from flatcausal.flatness._keskar import keskar
from flatcausal.flatness._one_step import adaptive, sam
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._result import Found
from flatcausal.flatness._worst_case import worst_case


@dataclass(frozen=True)
class Search:
    """How long a measure looks; see :func:`flatcausal.flatness.sharpness`."""

    n_draws: int
    n_steps: int
    n_restarts: int
    n_directions: int | None


@dataclass(frozen=True)
class Kind:
    """A kind of sharpness.

    Attributes
    ----------
    find : callable
        ``find(problem, rho, search)``.
    rho : float
        Default radius.
    reach : "length", "size" or None
        Of an adaptive kind, whether rho is a length over all weights or a size for each, in units of them.
    uses : tuple of str
        Fields of :class:`Search` that decide the value.
    """

    find: Callable[[Problem, float, Search], Found]
    rho: float
    reach: str | None = None
    uses: tuple[str, ...] = ()

    def check(self, problem: Problem, rho: float) -> None:
        """Refuse a radius beyond which weights would change their signs as a rule."""
        if self.reach is None:
            return
        count = sum(int(mask.sum()) for mask in (m.expand_as(w) for m, w in _pairs(problem)))
        count //= problem.n_members
        if count == 0:
            raise ParameterError("params chooses no weights, and an adaptive kind moves by their sizes.")
        most = 1.0 if self.reach == "size" else math.sqrt(count)
        if rho > most:
            raise ParameterError(
                f"rho={rho} moves the weights by more than their own sizes: "
                f"pass at most {most:.6g} for this kind and model."
            )


def _pairs(problem: Problem) -> zip[tuple[torch.Tensor, torch.Tensor]]:
    return zip(problem.scaled, problem.start, strict=True)


def _average(is_adaptive: bool) -> Callable[[Problem, float, Search], Found]:
    return lambda problem, rho, search: average(problem, rho, search.n_draws, adaptive=is_adaptive)


def _worst(is_adaptive: bool, boxed: bool) -> Callable[[Problem, float, Search], Found]:
    return lambda problem, rho, search: worst_case(
        problem, rho, search.n_steps, search.n_restarts, adaptive=is_adaptive, boxed=boxed
    )


_DRAWS, _ASCENT = ("n_draws",), ("n_steps", "n_restarts")
KINDS = {
    "adaptive": Kind(lambda problem, rho, _: adaptive(problem, rho), 0.5, "length"),
    "adaptive_l2": Kind(_worst(True, False), 0.5, "length", _ASCENT),
    "adaptive_linf": Kind(_worst(True, True), 1e-3, "size", _ASCENT),
    "adaptive_average": Kind(_average(True), 0.1, "size", _DRAWS),
    "sam": Kind(lambda problem, rho, _: sam(problem, rho), 0.05),
    "l2": Kind(_worst(False, False), 0.05, None, _ASCENT),
    "linf": Kind(_worst(False, True), 1e-3, None, _ASCENT),
    "average": Kind(_average(False), 0.05, None, _DRAWS),
    "keskar": Kind(
        lambda problem, rho, search: keskar(problem, rho, search.n_directions), 1e-3, None, ("n_directions",)
    ),
}
