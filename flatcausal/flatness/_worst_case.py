"""The highest loss within a radius, looked for by projected ascent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flatcausal.flatness._average import draw
from flatcausal.flatness._most_curved import most_curved
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
        return self.along(torch._foreach_mul(self.scale, gradients))

    def along(self, u: Weights) -> Weights:
        """The same direction in unit length, without what cannot move; 0 stays 0."""
        pairs = zip(self.scale, u, strict=True)
        movable = [torch.where(c > 0, v, 0.0) for c, v in pairs]
        return torch._foreach_sign(movable) if self.boxed else self.problem.units(movable)

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

    The first start is along the gradient, the second along the top eigenvector of the Hessian over u, the
    others are random.
    """
    base, _ = problem.base
    scale = problem.sizes(1.0) if adaptive else problem.ones(1.0)
    ball = Ball(problem, rho, scale, boxed)
    generators = problem.generators(_STREAM)
    best = early = torch.zeros_like(base)  # standing still is within the radius
    details = {}
    for restart in range(n_restarts):
        start = ball.along(draw(problem.ones(1.0), generators))  # u, not d: so it survives a rescaling
        if restart == 0:
            start = _instead(problem, ball.uphill(problem.base[1]), start)
        elif restart == 1:
            curved, details["curved_start"] = _both_ways(ball)
            start = _instead(problem, curved, start)
        rises = _ascend(ball, torch._foreach_mul(start, rho), n_steps) - base
        best = torch.maximum(best, rises.amax(0))
        early = torch.maximum(early, rises[: 3 * n_steps // 4 + 1].amax(0))
    return Found(best, converged=best - early <= _SETTLED * best, details=details)


def _instead(problem: Problem, start: Weights, chance: Weights) -> Weights:
    """A start, for members that have it."""
    return problem.where(problem.norms(start) > 0, start, chance)


def _both_ways(ball: Ball) -> tuple[Weights, Tensor]:
    """The direction that curves up most, the way in which the loss is higher, and who has one."""
    problem = ball.problem
    found, has_one = most_curved(problem, ball.scale)
    nothing = [torch.zeros_like(v) for v in found]
    ahead = ball.along(problem.where(has_one, found, nothing))
    ends = [
        problem.losses(problem.moved(ball.steps(ahead), way * ball.rho), overflow=True) for way in (1.0, -1.0)
    ]
    back = torch._foreach_neg(ahead)
    return problem.where(ends[0] >= ends[1], ahead, back), has_one


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
