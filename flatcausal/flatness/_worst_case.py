"""The highest loss within a radius, looked for by projected ascent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flatcausal.flatness._average import draw
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._result import Found
from flatcausal.flatness._stack import Weights

_STREAM = 1  # of random starts
_SETTLED = 0.01  # share of the rise that the last quarter of the steps may add


@dataclass(frozen=True)
class Ball:
    """Steps d = c u with u within ``rho``: a ball in u, whatever box or ellipsoid that is in d."""

    problem: Problem
    rho: float
    scale: Weights
    boxed: bool  # by the largest number instead of the Euclidean norm

    def steps(self, u: Weights) -> Weights:
        """From u to d."""
        return torch._foreach_mul(self.scale, u)

    def uphill(self, gradients: Weights) -> Weights:
        """The u of unit length along which the loss rises most; 0 where it is level."""
        slopes = torch._foreach_mul(self.scale, gradients)
        if self.boxed:
            return torch._foreach_sign(slopes)
        return self.problem.units(slopes)

    def project(self, u: Weights) -> Weights:
        """The nearest point of the ball."""
        if self.boxed:
            return torch._foreach_clamp_max(torch._foreach_clamp_min(u, -self.rho), self.rho)
        lengths = self.problem.norms(u)
        return self.problem.times(self.rho / lengths.clamp_min(self.rho), u)


def worst_case(
    problem: Problem, rho: float, n_steps: int, n_restarts: int, *, adaptive: bool, boxed: bool
) -> Found:
    """Ascent along the normalised gradient in steps that fall from 2 rho to 0; the best iterate counts.

    The first start is one step along the gradient, the others are random.
    """
    base, gradients = problem.base
    scale = problem.sizes(1.0) if adaptive else problem.ones(1.0)
    ball = Ball(problem, rho, scale, boxed)
    generators = problem.generators(_STREAM)
    best = early = torch.zeros_like(base)  # standing still is within the radius
    for restart in range(n_restarts):
        chance = ball.uphill(draw(problem.ones(1.0), generators))
        u = chance
        if restart == 0:
            first = ball.uphill(gradients)
            u = problem.where(problem.norms(first) > 0, first, chance)
        rises = _ascend(ball, torch._foreach_mul(u, rho), n_steps) - base
        best = torch.maximum(best, rises.amax(0))
        early = torch.maximum(early, rises[: 3 * n_steps // 4 + 1].amax(0))
    return Found(best, converged=best - early <= _SETTLED * best)


def _ascend(ball: Ball, u: Weights, n_steps: int) -> Tensor:
    """Losses of all iterates, shape (n_steps + 1, K)."""
    problem, losses = ball.problem, []
    for t in range(n_steps):
        found, gradients = problem.gradients(problem.moved(ball.steps(u)))
        losses.append(found)
        step = ball.rho * (1 + math.cos(math.pi * t / n_steps))
        u = ball.project(torch._foreach_add(u, ball.uphill(gradients), alpha=step))
    losses.append(problem.losses(problem.moved(ball.steps(u))))
    return torch.stack(losses)
