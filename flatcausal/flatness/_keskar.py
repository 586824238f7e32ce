"""The sharpness of Keskar et al., for replication."""

from __future__ import annotations

import numpy as np
import torch

from flatcausal.flatness._lockstep import minimize_members
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._result import Found

_STREAM = 2  # of random subspaces
_ITERATIONS = 10


def keskar(problem: Problem, rho: float, n_directions: int | None) -> Found:
    """Highest loss in a box around the weights, in per cent of one plus the loss (Keskar et al., 2017)."""
    base, _ = problem.base
    weights = problem.flat(problem.restrict(problem.start))
    subspace = None if n_directions is None else _subspace(problem, n_directions)
    if subspace is None:
        centre = weights
    else:
        pairs = zip(subspace, weights, strict=True)
        centre = torch.stack([torch.linalg.lstsq(a, w[:, None]).solution[:, 0] for a, w in pairs])
    bounds = rho * (centre.abs() + 1)

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = torch.as_tensor(points).to(weights)
        steps = y if subspace is None else torch.bmm(subspace, y[:, :, None])[:, :, 0]
        losses, found = problem.gradients(problem.moved(problem.restrict(problem.unflat(steps))))
        slopes = problem.flat(found)
        slopes = slopes if subspace is None else torch.bmm(slopes[:, None], subspace)[:, 0]
        return _double(-losses), _double(-slopes)

    limits = np.nan_to_num(_double(bounds))  # a diverged member goes along, and counts for nothing
    results = minimize_members(evaluate, np.zeros_like(limits), limits, maxiter=_ITERATIONS)
    highest = torch.tensor([-r.fun for r in results]).to(base)
    return Found(
        100 * (highest - base) / (1 + base),
        converged=torch.tensor([bool(r.success) for r in results]),
    )


def _subspace(problem: Problem, n_directions: int) -> torch.Tensor:
    """Random directions of unit length, shape (K, P, n_directions)."""
    found = []
    for generator in problem.generators(_STREAM):
        columns = torch.randn(problem.flat(problem.start).shape[1], n_directions, generator=generator)
        found.append(columns)
    directions = torch.stack(found).to(problem.params[0])
    moving = problem.flat(problem.ones(1.0))[:, :, None]
    return torch.nn.functional.normalize(directions * moving, dim=1)


def _double(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
