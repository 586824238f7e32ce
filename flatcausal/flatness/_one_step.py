"""One step uphill, along the gradient."""

from __future__ import annotations

import torch

from flatcausal._members import member_norms, per_member
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._result import Found

ETA = 0.01  # keeps weights at zero movable (Kwon et al., 2021)
_TINY = 1e-12


def sam(problem: Problem, rho: float) -> Found:
    """Rise of the loss after a step of length rho (Foret et al., 2021)."""
    base, gradients = problem.base
    steps = problem.times(rho / (problem.norms(gradients) + _TINY), gradients)
    return Found(problem.losses(problem.moved(steps)) - base)


def adaptive(problem: Problem, rho: float) -> Found:
    """Rise of the loss after a step of length rho relative to the weights (Kwon et al., 2021)."""
    base, gradients = problem.base
    weights = problem.start
    pairs = zip(problem.scaled, weights, strict=True)
    scales = [torch.where(mask, w.abs() + ETA, 1.0) for mask, w in pairs]
    scaled = [t * g for t, g in zip(scales, gradients, strict=True)]
    lengths = rho / (member_norms(scaled, problem.n_members) + _TINY)
    moved = [
        w + per_member(lengths, w, problem.n_members) * t * tg
        for w, t, tg in zip(weights, scales, scaled, strict=True)
    ]
    return Found(problem.losses(moved) - base)
