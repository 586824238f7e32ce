"""The mean rise of the loss over random directions."""

from __future__ import annotations

import torch

from flatcausal._members import member_normal
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._result import Found
from flatcausal.flatness._stack import Weights


def average(problem: Problem, rho: float, n_draws: int, *, adaptive: bool) -> Found:
    """By antithetic pairs, which cancel the slope."""
    base, _ = problem.base
    reach = problem.sizes(rho) if adaptive else problem.ones(rho)
    generators = problem.generators()
    rises = []
    for _ in range(n_draws):
        steps = draw(reach, generators)
        ahead = problem.losses(problem.moved(steps))
        behind = problem.losses(problem.moved(steps, -1.0))
        rises.append((ahead + behind) / 2 - base)
    found = torch.stack(rises)
    return Found(found.mean(0), standard_error=found.std(0) / n_draws**0.5)


def draw(reach: Weights, generators: list[torch.Generator]) -> Weights:
    """Normal numbers with the standard deviations ``reach``, each member's from its own generator."""
    return [r * member_normal(r, generators) for r in reach]
